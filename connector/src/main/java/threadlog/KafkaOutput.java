// SPDX-License-Identifier: Apache-2.0
package threadlog;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.flink.util.Collector;

/**
 * Packed records on their way to Kafka: first, as a flat map, a pack is cut into records; then, in the sink, each record
 * becomes a ProducerRecord. One byte array carries all outputs of a decision out of Python, whatever their number.
 *
 * <p>A pack is a row of: u32 length of what follows | u16 length + topic | i32 length + key | i32 length + value | u16
 * number of headers | each header: u16 length + name, i32 length + value. Big-endian; length -1 is null. The timestamp is
 * the broker's.
 *
 * <p>The topics are declared, because the sink's transactions (TransactionNamingStrategy.POOLING) must know at a start
 * which topics may hold lingering ones.
 */
public final class KafkaOutput
        implements FlatMapFunction<byte[], byte[]>,
                KafkaRecordSerializationSchema<byte[]>,
                KafkaDatasetFacetProvider,
                ResultTypeQueryable<byte[]> {
    private static final long serialVersionUID = 1L;

    private final ArrayList<String> topics;

    public KafkaOutput(String[] topics) {
        this.topics = new ArrayList<>(Arrays.asList(topics));
    }

    @Override
    public void flatMap(byte[] pack, Collector<byte[]> out) {
        ByteBuffer rest = ByteBuffer.wrap(pack);
        while (rest.hasRemaining()) {
            byte[] record = new byte[checked(rest, rest.getInt())];
            rest.get(record);
            out.collect(record);
        }
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(byte[] record, KafkaSinkContext context, Long timestamp) {
        ByteBuffer rest = ByteBuffer.wrap(record);
        String topic = new String(name(rest), StandardCharsets.UTF_8);
        if (!topics.contains(topic)) {
            throw new IllegalArgumentException(
                    "record for topic '" + topic + "', which this sink does not declare; declared: " + topics);
        }
        byte[] key = value(rest);
        byte[] value = value(rest);
        int count = Short.toUnsignedInt(rest.getShort());
        List<Header> headers = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            headers.add(new RecordHeader(new String(name(rest), StandardCharsets.UTF_8), value(rest)));
        }
        return new ProducerRecord<>(topic, null, null, key, value, headers);
    }

    @Override
    public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
        return Optional.of(new DefaultKafkaDatasetFacet(DefaultKafkaDatasetIdentifier.ofTopics(topics)));
    }

    @Override
    public TypeInformation<byte[]> getProducedType() {
        return bytes();
    }

    @SuppressWarnings("unchecked")
    private static TypeInformation<byte[]> bytes() {
        return (TypeInformation<byte[]>) Types.PRIMITIVE_ARRAY(Types.BYTE);
    }

    private static byte[] name(ByteBuffer rest) {
        byte[] bytes = new byte[Short.toUnsignedInt(rest.getShort())];
        rest.get(bytes);
        return bytes;
    }

    private static byte[] value(ByteBuffer rest) {
        int length = rest.getInt();
        if (length == -1) {
            return null;
        }
        byte[] bytes = new byte[checked(rest, length)];
        rest.get(bytes);
        return bytes;
    }

    /** The length, if so much is there: without this a damaged pack would ask for gigabytes. */
    private static int checked(ByteBuffer rest, int length) {
        if (length < 0 || length > rest.remaining()) {
            throw new IllegalArgumentException(
                    "damaged pack: a length of " + length + " where " + rest.remaining() + " bytes remain");
        }
        return length;
    }
}
