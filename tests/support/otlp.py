"""OTLP messages for a decoder that is not ours: classes of python3-protobuf, made from a transcription of the protocol's
field tables (opentelemetry-proto 1.x). decode_raw() shows the same bytes as protoc sees them without any table.
"""

import subprocess

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_T = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _T.TYPE_STRING, "bool": _T.TYPE_BOOL, "int64": _T.TYPE_INT64, "double": _T.TYPE_DOUBLE,
            "bytes": _T.TYPE_BYTES, "fixed64": _T.TYPE_FIXED64, "sfixed64": _T.TYPE_SFIXED64,
            "fixed32": _T.TYPE_FIXED32, "sint32": _T.TYPE_SINT32, "uint32": _T.TYPE_UINT32, "uint64": _T.TYPE_UINT64,
            "int32": _T.TYPE_INT32}

# message: "number type name", with * for repeated, ? for optional, and | in front of the members of the one oneof.
_TABLES = {
    "AnyValue": ("|1 string string_value", "|2 bool bool_value", "|3 int64 int_value", "|4 double double_value",
                 "|5 ArrayValue array_value", "|6 KeyValueList kvlist_value", "|7 bytes bytes_value"),
    "ArrayValue": ("1 AnyValue* values",),
    "KeyValueList": ("1 KeyValue* values",),
    "KeyValue": ("1 string key", "2 AnyValue value"),
    "InstrumentationScope": ("1 string name", "2 string version", "3 KeyValue* attributes",
                             "4 uint32 dropped_attributes_count"),
    "Resource": ("1 KeyValue* attributes", "2 uint32 dropped_attributes_count"),
    "ExportMetricsServiceRequest": ("1 ResourceMetrics* resource_metrics",),
    "ResourceMetrics": ("1 Resource resource", "2 ScopeMetrics* scope_metrics", "3 string schema_url"),
    "ScopeMetrics": ("1 InstrumentationScope scope", "2 Metric* metrics", "3 string schema_url"),
    "Metric": ("1 string name", "2 string description", "3 string unit", "|5 Gauge gauge", "|7 Sum sum",
               "|9 Histogram histogram", "|10 ExponentialHistogram exponential_histogram"),
    "Gauge": ("1 NumberDataPoint* data_points",),
    "Sum": ("1 NumberDataPoint* data_points", "2 int32 aggregation_temporality", "3 bool is_monotonic"),
    "Histogram": ("1 HistogramDataPoint* data_points", "2 int32 aggregation_temporality"),
    "ExponentialHistogram": ("1 ExponentialHistogramDataPoint* data_points", "2 int32 aggregation_temporality"),
    "NumberDataPoint": ("2 fixed64 start_time_unix_nano", "3 fixed64 time_unix_nano", "|4 double as_double",
                        "|6 sfixed64 as_int", "7 KeyValue* attributes", "8 uint32 flags"),
    "HistogramDataPoint": ("2 fixed64 start_time_unix_nano", "3 fixed64 time_unix_nano", "4 fixed64 count",
                           "5 double? sum", "6 fixed64* bucket_counts", "7 double* explicit_bounds",
                           "9 KeyValue* attributes", "10 uint32 flags", "11 double? min", "12 double? max"),
    "Buckets": ("1 sint32 offset", "2 uint64* bucket_counts"),
    "ExponentialHistogramDataPoint": (
        "1 KeyValue* attributes", "2 fixed64 start_time_unix_nano", "3 fixed64 time_unix_nano", "4 fixed64 count",
        "5 double? sum", "6 sint32 scale", "7 fixed64 zero_count", "8 Buckets positive", "9 Buckets negative",
        "10 uint32 flags", "12 double? min", "13 double? max", "14 double zero_threshold"),
    "ExportLogsServiceRequest": ("1 ResourceLogs* resource_logs",),
    "ResourceLogs": ("1 Resource resource", "2 ScopeLogs* scope_logs", "3 string schema_url"),
    "ScopeLogs": ("1 InstrumentationScope scope", "2 LogRecord* log_records", "3 string schema_url"),
    "LogRecord": ("1 fixed64 time_unix_nano", "2 int32 severity_number", "3 string severity_text", "5 AnyValue body",
                  "6 KeyValue* attributes", "7 uint32 dropped_attributes_count", "8 fixed32 flags", "9 bytes trace_id",
                  "10 bytes span_id", "11 fixed64 observed_time_unix_nano", "12 string event_name"),
    "PartialSuccess": ("1 int64 rejected", "2 string error_message"),
    "Response": ("1 PartialSuccess partial_success",),
    "Any": ("1 string type_url", "2 bytes value"),
    "Status": ("1 int32 code", "2 string message", "3 Any* details"),
    "Duration": ("1 int64 seconds", "2 int32 nanos"),
    "RetryInfo": ("1 Duration retry_delay",),
}


def _add_field(message, row):
    number, kind, name = row.lstrip("|").split()
    field = message.field.add(name=name, number=int(number))
    field.label = _T.LABEL_REPEATED if kind.endswith("*") else _T.LABEL_OPTIONAL
    bare = kind.rstrip("*?")
    if bare in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        field.type, field.type_name = _T.TYPE_MESSAGE, f".otlp.test.{bare}"
    return field, row.startswith("|"), kind.endswith("?")


def _classes():
    file = descriptor_pb2.FileDescriptorProto(name="otlp_test.proto", package="otlp.test", syntax="proto3")
    for name, rows in _TABLES.items():
        message = file.message_type.add(name=name)
        optional = []
        for row in rows:
            field, in_oneof, is_optional = _add_field(message, row)
            if in_oneof:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="choice")
                field.oneof_index = 0
            if is_optional:
                optional.append(field)
        for field in optional:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"otlp.test.{name}")) for name in _TABLES}


messages = _classes()


def decode_raw(data):
    """What protoc makes of the bytes alone: numbers of fields, no names."""
    return subprocess.run(["protoc", "--decode_raw"], input=data, capture_output=True, check=True).stdout.decode()


def value(any_value):
    """An AnyValue as a Python value."""
    kind = any_value.WhichOneof("choice")
    if kind == "array_value":
        return [value(each) for each in any_value.array_value.values]
    if kind == "kvlist_value":
        return attributes(any_value.kvlist_value.values)
    return getattr(any_value, kind) if kind else None


def attributes(pairs):
    result = {pair.key: value(pair.value) for pair in pairs}
    assert len(result) == len(pairs), f"a key comes twice: {[pair.key for pair in pairs]}"
    return result


# --- OTLP/JSON back into the same messages ---

def _camel(name):
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def from_json(kind, data):
    """A message of the JSON form, strictly: unknown names and 64-bit integers that are no text are errors."""
    message = messages[kind]()
    fields = {_camel(field.name): field for field in message.DESCRIPTOR.fields}
    for key, content in data.items():
        field = fields[key]
        convert = _json_converter(field)
        if field.label == _T.LABEL_REPEATED:
            getattr(message, field.name).extend([convert(each) for each in content])
        elif field.type == _T.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(convert(content))
        else:
            setattr(message, field.name, convert(content))
    return message


def _json_converter(field):
    if field.type == _T.TYPE_MESSAGE:
        return lambda content: from_json(field.message_type.name, content)
    if field.type in (_T.TYPE_INT64, _T.TYPE_UINT64, _T.TYPE_FIXED64, _T.TYPE_SFIXED64):
        def whole(content):
            assert isinstance(content, str), f"{field.name}: 64-bit integers are text in OTLP/JSON"
            return int(content)
        return whole
    if field.type == _T.TYPE_BYTES:
        return bytes.fromhex
    return lambda content: content


# --- what holds for any row of exports ---

def expect_cumulative(exports):
    """Each stream has one start, its times go on, and what only grows never shrinks. Returns how many streams."""
    streams = {}
    for export in exports:
        for name, metric in export.metrics().items():
            kind = metric.WhichOneof("choice")
            if kind == "gauge":
                continue
            grows = kind != "sum" or metric.sum.is_monotonic
            for key, point in export.points(name).items():
                streams.setdefault((name, key), []).append((point, grows))
    for (name, _), points in streams.items():
        assert len({point.start_time_unix_nano for point, _ in points}) == 1, name
        times = [point.time_unix_nano for point, _ in points]
        assert times == sorted(set(times)), name
        values = [_size(point) for point, grows in points if grows]
        assert values == sorted(values), name
    return len(streams)


def _size(point):
    if not hasattr(point, "as_int"):
        return point.count
    return point.as_double if point.WhichOneof("choice") == "as_double" else point.as_int
