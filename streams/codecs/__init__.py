"""Bytes to typed records and back: pure, no Kafka, no Faust, no clock, no logging.

It lies inside `streams` because a package `codecs` beside it could never be imported: the standard library's
module of that name is loaded before any other code.
"""
