import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.cfg.CoercionAction;
import com.fasterxml.jackson.databind.cfg.CoercionInputShape;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.type.LogicalType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.Arrays;
import java.util.Currency;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams as its manual would have it: a processor with its store in memory and a changelog, one thread, a commit
 * each 100 ms; the same rules for a call, written once more in Java.
 *
 * <p>It has no deadlines, no countries, no KPI windows, no dead-letter headers and no metrics, and looks at times and
 * URIs with regular expressions: less than the worker does.
 *
 * <pre>java -cp CLASS_PATH KafkaStreamsPeer BROKERS GROUP CALLS_TOPIC COMPLETED_TOPIC GUARANTEE
 *     [SETTING=VALUE ...]</pre>
 */
public final class KafkaStreamsPeer {
    private static final String STORE = "calls";
    /** Strict: what is not of the type that the schema asks for is no Call. */
    private static final ObjectMapper JSON = JsonMapper.builder()
            .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_NUMBERS_FOR_ENUMS)
            .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
            .withCoercionConfig(LogicalType.Textual, textual -> List.of(
                            CoercionInputShape.Integer, CoercionInputShape.Float, CoercionInputShape.Boolean)
                    .forEach(shape -> textual.setCoercion(shape, CoercionAction.Fail)))
            .defaultPropertyInclusion(JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, null))
            .build();

    public static void main(String[] args) throws IOException {
        String calls = args[2], completed = args[3];
        Topology topology = new Topology();
        topology.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), calls)
                .addProcessor("fold", () -> new Fold(calls), "source")
                .addStateStore(
                        Stores.keyValueStoreBuilder(
                                        Stores.inMemoryKeyValueStore(STORE), Serdes.String(), State.serde())
                                .withCachingEnabled(), // the changelog then has one row a call and commit
                        "fold")
                .addSink("completed", completed, new ByteArraySerializer(), new ByteArraySerializer(), "fold")
                .addSink("dead", completed + ".dead", new ByteArraySerializer(), new ByteArraySerializer(), "fold");
        Properties config = config(args[0], args[1], args[4]);
        for (String setting : Arrays.asList(args).subList(5, args.length)) {
            String[] parts = setting.split("=", 2);
            config.put(parts[0], parts[1]);
        }
        KafkaStreams streams = new KafkaStreams(topology, config);
        // SIGTERM leaves the group: by default the partitions would wait for the session to time out.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(
                CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
                        .withTimeout(Duration.ofSeconds(20)))));
        streams.start();
    }

    private static Properties config(String brokers, String group, String guarantee) throws IOException {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        config.put(
                StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
                guarantee.equals("exactly_once") ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        config.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("streams").toString());
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
        config.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 128 << 10);
        return config;
    }

    /** One event at a time. */
    private static final class Fold implements Processor<byte[], byte[], byte[], byte[]> {
        private final String topic;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<String, State> store;

        Fold(String topic) {
            this.topic = topic;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Call call;
            try {
                call = Call.read(record.value());
            } catch (IOException | IllegalArgumentException rejected) {
                context.forward(record, "dead");
                return;
            }
            long offset = context.recordMetadata().orElseThrow().offset();
            State state = store.get(call.id);
            boolean changed;
            if (state == null) {
                state = State.begin(call, record.timestamp(), offset);
                changed = true;
            } else {
                changed = state.apply(call, record.timestamp(), offset);
            }
            if (state.closedAt == null && call.status.rank == 3) {
                state.closedAt = record.timestamp();
            }
            if (state.closedAt != null && changed) {
                state.revision++;
                int partition = context.recordMetadata().orElseThrow().partition();
                byte[] said = new Completed(call.id, state, new Source(topic, partition, offset)).write();
                context.forward(record.withValue(said), "completed");
            }
            store.put(call.id, state);
        }
    }

    enum Status {
        @JsonProperty("queued") QUEUED(0),
        @JsonProperty("ringing") RINGING(1),
        @JsonProperty("in-progress") IN_PROGRESS(2),
        @JsonProperty("completed") COMPLETED(3),
        @JsonProperty("failed") FAILED(3),
        @JsonProperty("busy") BUSY(3),
        @JsonProperty("no-answer") NO_ANSWER(3),
        @JsonProperty("canceled") CANCELED(3);

        final int rank;

        Status(int rank) {
            this.rank = rank;
        }
    }

    enum Direction {
        @JsonProperty("inbound") INBOUND,
        @JsonProperty("outbound") OUTBOUND
    }

    enum AnsweredBy {
        @JsonProperty("human") HUMAN,
        @JsonProperty("machine") MACHINE,
        @JsonProperty("unknown") UNKNOWN
    }

    enum Anomaly {
        @JsonProperty("conflicting-status") CONFLICTING_STATUS,
        @JsonProperty("currency-unknown") CURRENCY_UNKNOWN,
        @JsonProperty("duration-mismatch") DURATION_MISMATCH,
        @JsonProperty("end-before-start") END_BEFORE_START,
        @JsonProperty("id-not-uuid") ID_NOT_UUID,
        @JsonProperty("identity-changed") IDENTITY_CHANGED,
        @JsonProperty("missing-answer") MISSING_ANSWER,
        @JsonProperty("no-history") NO_HISTORY,
        @JsonProperty("out-of-order") OUT_OF_ORDER,
        @JsonProperty("price-invalid") PRICE_INVALID,
        @JsonProperty("price-without-currency") PRICE_WITHOUT_CURRENCY
    }

    /** One event, as it is read. */
    static final class Call {
        private static final Pattern NUMBER = Pattern.compile("\\+[1-9][0-9]{1,14}");
        private static final Pattern URI = Pattern.compile("[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-\\[\\]_a-z~]*");
        private static final Pattern TIME = Pattern.compile(
                "\\d{4}-\\d{2}-\\d{2}[Tt]\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?([Zz]|[+-]\\d{2}:\\d{2})");
        private static final ObjectReader READER = JSON.readerFor(Call.class);

        public String id;
        public Status status;
        public Direction direction;
        public String from;
        public String to;
        public Long duration;
        @JsonProperty("start_time") public String startTime;
        @JsonProperty("end_time") public String endTime;
        public String price;
        @JsonProperty("price_unit") public String priceUnit;
        @JsonProperty("recording_url") public String recordingUrl;
        public String url;
        @JsonProperty("status_callback") public String statusCallback;
        @JsonProperty("answered_by") public AnsweredBy answeredBy;

        /** Raises IOException or IllegalArgumentException when it is none. */
        static Call read(byte[] value) throws IOException {
            if (value == null || value.length == 0) {
                throw new IllegalArgumentException("empty");
            }
            Call call = READER.readValue(value);
            boolean valid = call.id != null
                    && call.status != null
                    && call.direction != null
                    && call.from != null
                    && NUMBER.matcher(call.from).matches()
                    && call.to != null
                    && NUMBER.matcher(call.to).matches()
                    && (call.duration == null || call.duration >= 0)
                    && (call.priceUnit == null || call.priceUnit.length() == 3)
                    && isAbsentOr(TIME, call.startTime)
                    && isAbsentOr(TIME, call.endTime)
                    && isAbsentOr(URI, call.recordingUrl)
                    && isAbsentOr(URI, call.url)
                    && isAbsentOr(URI, call.statusCallback);
            if (!valid) {
                throw new IllegalArgumentException("schema");
            }
            return call;
        }

        private static boolean isAbsentOr(Pattern pattern, String text) {
            return text == null || pattern.matcher(text).matches();
        }
    }

    /** A call, as merged from its events. */
    static final class State {
        public Status status;
        public Direction direction;
        public String from;
        public String to;
        public long last;
        public long offset;
        public int events = 1;
        public int revision;
        public Long closedAt;
        public Set<Anomaly> history = new TreeSet<>();
        public Long duration;
        public String startTime;
        public String endTime;
        public String price;
        public String priceUnit;
        public String recordingUrl;
        public String url;
        public String statusCallback;
        public AnsweredBy answeredBy;
        public Map<Status, Long> timeline = new EnumMap<>(Status.class);

        static Serde<State> serde() {
            ObjectReader reader = JSON.readerFor(State.class);
            ObjectWriter writer = JSON.writerFor(State.class);
            Deserializer<State> read = (topic, bytes) -> {
                try {
                    return bytes == null ? null : reader.readValue(bytes);
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            };
            return Serdes.serdeFrom((topic, state) -> KafkaStreamsPeer.write(writer, state), read);
        }

        static State begin(Call call, long at, long offset) {
            State state = new State();
            state.status = call.status;
            state.direction = call.direction;
            state.from = call.from;
            state.to = call.to;
            state.last = at;
            state.offset = offset;
            state.replace(call);
            state.timeline.put(call.status, at);
            if (call.status.rank == 3) {
                state.history.add(Anomaly.NO_HISTORY);
            }
            return state;
        }

        /** Whether a record of the call would say something else now. */
        boolean apply(Call call, long at, long offset) {
            boolean changed = false;
            if (call.direction != direction || !call.from.equals(from) || !call.to.equals(to)) {
                changed |= history.add(Anomaly.IDENTITY_CHANGED);
            }
            if (call.status.rank < status.rank) {
                changed |= history.add(Anomaly.OUT_OF_ORDER);
                changed |= fill(call);
            } else {
                changed |= replace(call);
                if (call.status != status) {
                    if (call.status.rank == status.rank) {
                        history.add(Anomaly.CONFLICTING_STATUS);
                    }
                    status = call.status;
                    changed = true;
                }
            }
            Long seen = timeline.get(call.status);
            if (seen == null || at < seen) {
                timeline.put(call.status, at);
                changed = true;
            }
            last = Math.max(last, at);
            events++;
            this.offset = offset;
            return changed;
        }

        /** Present properties replace the stored ones. */
        private boolean replace(Call call) {
            String start = utc(call.startTime), end = utc(call.endTime);
            boolean changed = differs(call.duration, duration)
                    | differs(start, startTime)
                    | differs(end, endTime)
                    | differs(call.price, price)
                    | differs(call.priceUnit, priceUnit)
                    | differs(call.recordingUrl, recordingUrl)
                    | differs(call.url, url)
                    | differs(call.statusCallback, statusCallback)
                    | differs(call.answeredBy, answeredBy);
            duration = either(call.duration, duration);
            startTime = either(start, startTime);
            endTime = either(end, endTime);
            price = either(call.price, price);
            priceUnit = either(call.priceUnit, priceUnit);
            recordingUrl = either(call.recordingUrl, recordingUrl);
            url = either(call.url, url);
            statusCallback = either(call.statusCallback, statusCallback);
            answeredBy = either(call.answeredBy, answeredBy);
            return changed;
        }

        /** A stale event fills only what is absent. */
        private boolean fill(Call call) {
            boolean changed = duration == null && call.duration != null
                    || startTime == null && call.startTime != null
                    || endTime == null && call.endTime != null
                    || price == null && call.price != null
                    || priceUnit == null && call.priceUnit != null
                    || recordingUrl == null && call.recordingUrl != null
                    || url == null && call.url != null
                    || statusCallback == null && call.statusCallback != null
                    || answeredBy == null && call.answeredBy != null;
            duration = either(duration, call.duration);
            startTime = either(startTime, utc(call.startTime));
            endTime = either(endTime, utc(call.endTime));
            price = either(price, call.price);
            priceUnit = either(priceUnit, call.priceUnit);
            recordingUrl = either(recordingUrl, call.recordingUrl);
            url = either(url, call.url);
            statusCallback = either(statusCallback, call.statusCallback);
            answeredBy = either(answeredBy, call.answeredBy);
            return changed;
        }

        private static boolean differs(Object said, Object stored) {
            return said != null && !said.equals(stored);
        }

        private static <T> T either(T first, T second) {
            return first != null ? first : second;
        }

        private static String utc(String time) {
            return time == null || time.endsWith("Z") ? time : OffsetDateTime.parse(time).toInstant().toString();
        }
    }

    record Source(String topic, int partition, long offset) {}

    /** What is published of a closed call. */
    static final class Completed {
        private static final ObjectWriter WRITER = JSON.writerFor(Completed.class);
        private static final DateTimeFormatter MILLIS =
                new DateTimeFormatterBuilder().appendInstant(3).toFormatter();
        private static final Pattern PRICE = Pattern.compile("[+-]?[0-9]+(\\.[0-9]+)?");
        private static final Pattern UUID = Pattern.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}");
        private static final Set<String> CURRENCIES = Currency.getAvailableCurrencies().stream()
                .map(Currency::getCurrencyCode)
                .collect(Collectors.toSet());

        public final String id;
        public final Status status;
        public final Direction direction;
        public final String from;
        public final String to;
        public final int revision;
        @JsonProperty("closed_by") public final String closedBy = "status";
        @JsonProperty("closed_at") public final String closedAt;
        public final Map<Status, String> timeline = new EnumMap<>(Status.class);
        public final boolean answered;
        public final int events;
        public final Source source;
        public final Long duration;
        @JsonProperty("start_time") public final String startTime;
        @JsonProperty("end_time") public final String endTime;
        public final String price;
        @JsonProperty("price_unit") public final String priceUnit;
        @JsonProperty("recording_url") public final String recordingUrl;
        public final String url;
        @JsonProperty("status_callback") public final String statusCallback;
        @JsonProperty("answered_by") public final AnsweredBy answeredBy;
        @JsonProperty("ring_seconds") public final Double ringSeconds;
        @JsonProperty("talk_seconds") public final Double talkSeconds;
        public final Set<Anomaly> anomalies;

        Completed(String id, State state, Source source) {
            this.id = id;
            this.source = source;
            status = state.status;
            direction = state.direction;
            from = state.from;
            to = state.to;
            revision = state.revision;
            closedAt = text(state.closedAt);
            state.timeline.forEach((status, at) -> timeline.put(status, text(at)));
            answered = state.timeline.containsKey(Status.IN_PROGRESS)
                    || state.startTime != null
                    || state.status == Status.COMPLETED;
            events = state.events;
            duration = state.duration;
            startTime = state.startTime;
            endTime = state.endTime;
            price = state.price;
            priceUnit = state.priceUnit;
            recordingUrl = state.recordingUrl;
            url = state.url;
            statusCallback = state.statusCallback;
            answeredBy = state.answeredBy;
            Set<Anomaly> found = new TreeSet<>(state.history);
            talkSeconds = talk(state, found);
            ringSeconds = ring(state);
            judge(found);
            anomalies = found.isEmpty() ? null : found;
        }

        byte[] write() {
            return KafkaStreamsPeer.write(WRITER, this);
        }

        private static String text(long at) {
            return MILLIS.format(Instant.ofEpochMilli(at));
        }

        private static Double talk(State state, Set<Anomaly> found) {
            if (state.startTime == null || state.endTime == null) {
                return null;
            }
            Duration talk = Duration.between(Instant.parse(state.startTime), Instant.parse(state.endTime));
            if (state.duration != null && Math.abs(talk.toMillis() - state.duration * 1000) > 1000) {
                found.add(Anomaly.DURATION_MISMATCH);
            }
            if (talk.isNegative()) {
                found.add(Anomaly.END_BEFORE_START);
                return null;
            }
            return talk.toMillis() / 1000.0;
        }

        private Double ring(State state) {
            Long from = state.timeline.get(Status.RINGING), until = state.timeline.get(Status.IN_PROGRESS);
            if (state.startTime != null) {
                until = Instant.parse(state.startTime).toEpochMilli();
            } else if (until == null && !answered) {
                until = state.timeline.get(state.status);
            }
            return from == null || until == null || until < from ? null : (until - from) / 1000.0;
        }

        private void judge(Set<Anomaly> found) {
            if (status == Status.COMPLETED && startTime == null && !timeline.containsKey(Status.IN_PROGRESS)) {
                found.add(Anomaly.MISSING_ANSWER);
            }
            if (price != null && !PRICE.matcher(price).matches()) {
                found.add(Anomaly.PRICE_INVALID);
            }
            if (price != null && priceUnit == null) {
                found.add(Anomaly.PRICE_WITHOUT_CURRENCY);
            }
            if (priceUnit != null && !CURRENCIES.contains(priceUnit)) {
                found.add(Anomaly.CURRENCY_UNKNOWN);
            }
            if (!UUID.matcher(id).matches()) {
                found.add(Anomaly.ID_NOT_UUID);
            }
        }
    }

    private static byte[] write(ObjectWriter writer, Object value) {
        try {
            return writer.writeValueAsBytes(value);
        } catch (JsonProcessingException error) {
            throw new UncheckedIOException(error);
        }
    }
}
