"""`parent.py DATA_DIR`: a program with a broker, to see what becomes of the broker when the program ends."""

import sys
import time

from streams.embedded import Cluster

cluster = Cluster(sys.argv[1])
cluster.start()
print(cluster.brokers[0].pid, flush=True)
time.sleep(60)
