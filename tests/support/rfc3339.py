"""RFC 3339 texts as plain rational numbers: slow, obvious, and right for every year from 0000 to 9999."""

from fractions import Fraction


def seconds(text: str) -> Fraction:
    """Seconds since 1970 of a valid date-time; second 60 is the first one of the next minute."""
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    days = days_before(year) - days_before(1970) + sum(month_lengths(year)[: month - 1]) + day - 1
    clock = int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
    digits = fraction(text)
    return Fraction(days * 86_400 + clock - offset(zone(text)) * 60) + Fraction(
        int(digits or "0"), 10 ** len(digits)
    )


def in_utc(text: str) -> str:
    """The same instant and digits with `Z`; as it came where the UTC year would leave 0000 to 9999."""
    minutes = int(seconds(f"{text[:17]}00{zone(text)}")) // 60 + days_before(1970) * 1440
    days, minute = divmod(minutes, 1440)
    if not 0 <= days < days_before(10_000):
        return text
    digits = fraction(text)
    return f"{date(days)}T{minute // 60:02d}:{minute % 60:02d}:{text[17:19]}{'.' if digits else ''}{digits}Z"


def from_ms(ms: int) -> str:
    """An epoch millisecond between the years 0000 and 9999, in UTC with three fraction digits."""
    second, millisecond = divmod(ms + days_before(1970) * 86_400_000, 1000)
    days, second = divmod(second, 86_400)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{date(days)}T{clock}.{millisecond:03d}Z"


def zone(text: str) -> str:
    return text[-1] if text[-1] in "Zz" else text[-6:]


def offset(zone: str) -> int:
    """Minutes east of UTC."""
    if zone in "Zz":
        return 0
    return (int(zone[1:3]) * 60 + int(zone[4:])) * (-1 if zone[0] == "-" else 1)


def fraction(text: str) -> str:
    """The fraction digits of a date-time, without the point."""
    return text[20 : len(text) - len(zone(text))]


def days_before(year: int) -> int:
    """Days from 0000-01-01 to the first of January of the year."""
    return year * 365 + (year + 3) // 4 - (year + 99) // 100 + (year + 399) // 400


def date(days: int) -> str:
    """The date that many days after 0000-01-01."""
    year = next(year for year in range(days // 366, 10_000) if days < days_before(year + 1))
    day, month = days - days_before(year), 1
    for length in month_lengths(year):
        if day < length:
            break
        day, month = day - length, month + 1
    return f"{year:04d}-{month:02d}-{day + 1:02d}"


def month_lengths(year: int) -> list[int]:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
