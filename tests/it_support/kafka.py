"""The mock cluster of librdkafka: brokers in this process, with a topic that they keep in memory.

Arguments: how many brokers, the topic, how many partitions. The first line that it prints is where the brokers are. After
that it obeys a line at a time, and answers each with a line: `down <broker>` and `up <broker>` (-1 for all), which cuts
every connection; `leader <partition> <broker>`; `errors <code> ...`, one for each of the next Produce requests (-195 hangs
up); `partition <count> <key in hex>`, which partition librdkafka would choose as the Java client does. It ends when its
standard input does.
"""

import ctypes
import ctypes.util
import sys

library = ctypes.CDLL(ctypes.util.find_library("rdkafka") or "librdkafka.so.1")
pointer, text, number, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_size_t


def function(name, result, *arguments):
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


def done(code):
    assert code == 0, f"librdkafka: error {code}"


reason = ctypes.create_string_buffer(512)
settings = function("rd_kafka_conf_new", pointer)()
own = function("rd_kafka_new", pointer, ctypes.c_int, pointer, text, size)(0, settings, reason, len(reason))
assert own, reason.value
cluster = function("rd_kafka_mock_cluster_new", pointer, pointer, ctypes.c_int)(own, int(sys.argv[1]))
topic = sys.argv[2].encode()
create = function("rd_kafka_mock_topic_create", ctypes.c_int, pointer, text, ctypes.c_int, ctypes.c_int)
done(create(cluster, topic, int(sys.argv[3]), 1))
print(function("rd_kafka_mock_cluster_bootstraps", text, pointer)(cluster).decode(), flush=True)

down = function("rd_kafka_mock_broker_set_down", ctypes.c_int, pointer, number)
up = function("rd_kafka_mock_broker_set_up", ctypes.c_int, pointer, number)
lead = function("rd_kafka_mock_partition_set_leader", ctypes.c_int, pointer, text, number, number)
push = function("rd_kafka_mock_push_request_errors_array", None, pointer, ctypes.c_int16, size, pointer)
choose = function(
    "rd_kafka_msg_partitioner_murmur2", number, pointer, pointer, size, number, pointer, pointer
)

for line in sys.stdin:
    word, *rest = line.split()
    answer = "ok"
    if word == "down":
        done(down(cluster, int(rest[0])))
    elif word == "up":
        done(up(cluster, int(rest[0])))
    elif word == "leader":
        done(lead(cluster, topic, int(rest[0]), int(rest[1])))
    elif word == "errors":
        push(cluster, 0, len(rest), (ctypes.c_int * len(rest))(*map(int, rest)))
    elif word == "partition":
        key = bytes.fromhex("".join(rest[1:]))
        answer = choose(None, key, len(key), int(rest[0]), None, None)
    else:
        sys.exit(f"what is {word}?")
    print(answer, flush=True)
