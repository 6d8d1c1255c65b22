// SPDX-License-Identifier: Apache-2.0
package threadlog;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * A Kafka record as Row(key STRING, frame BYTE[]), the layout that PyFlink's KeyByKeySelector keys without a hop through
 * Python.
 *
 * <p>The frame holds the whole record in one byte array, because each value that crosses between Java and Python costs
 * more than the bytes in it. Big-endian: u16 length + topic | i32 partition | i64 offset | i64 timestamp | i32 length +
 * key | i32 length + value | u16 number of headers | each header: u16 length + name, i32 length + value | u8: 1 where the
 * key is legal. Length -1 is null.
 *
 * <p>The key is the record's key, or the value of one header. A key that cannot name a thread (absent, empty, not UTF-8,
 * too long, with control characters) becomes NUL + topic + "-" + partition: two malformed keys must not meet in the state
 * of one thread, and no legal key begins with NUL, so the function sees that there is no thread to account to.
 */
public final class KafkaInput implements KafkaRecordDeserializationSchema<Row> {
    private static final long serialVersionUID = 1L;
    private static final int KEY_BYTES_MAX = 512;
    private static final int SHORT_MAX = 0xFFFF;

    private final String keyHeader;

    /** @param keyHeader the header that holds the key, or null for the record's own key */
    public KafkaInput(String keyHeader) {
        this.keyHeader = keyHeader;
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Row> out) {
        String legal = legal(keyBytes(record));
        out.collect(Row.of(streamKey(record, legal), frame(record, legal != null)));
    }

    @Override
    public TypeInformation<Row> getProducedType() {
        return Types.ROW(Types.STRING, Types.PRIMITIVE_ARRAY(Types.BYTE));
    }

    private String streamKey(ConsumerRecord<byte[], byte[]> record, String legal) {
        return legal != null ? legal : "\0" + record.topic() + "-" + record.partition();
    }

    private byte[] keyBytes(ConsumerRecord<byte[], byte[]> record) {
        if (keyHeader == null) {
            return record.key();
        }
        Header header = record.headers().lastHeader(keyHeader);
        return header == null ? null : header.value();
    }

    /** The key as a string, or null where it cannot name a thread. */
    private static String legal(byte[] key) {
        if (key == null || key.length == 0 || key.length > KEY_BYTES_MAX) {
            return null;
        }
        try {
            // A fresh decoder reports malformed bytes; `new String` would replace them and merge threads.
            String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(key)).toString();
            return text.chars().anyMatch(Character::isISOControl) ? null : text;
        } catch (CharacterCodingException malformed) {
            return null;
        }
    }

    private static byte[] frame(ConsumerRecord<byte[], byte[]> record, boolean legalKey) {
        byte[] topic = record.topic().getBytes(StandardCharsets.UTF_8);
        Header[] headers = record.headers().toArray();
        // Kafka bounds neither number nor name length of headers, only the record; what does not fit is cut off.
        int count = Math.min(headers.length, SHORT_MAX);
        byte[][] names = new byte[count][];
        int size = 2 + topic.length + 4 + 8 + 8 + 4 + length(record.key()) + 4 + length(record.value()) + 3;
        for (int i = 0; i < count; i++) {
            names[i] = headers[i].key().getBytes(StandardCharsets.UTF_8);
            size += 2 + Math.min(names[i].length, SHORT_MAX) + 4 + length(headers[i].value());
        }
        ByteBuffer frame = ByteBuffer.allocate(size);
        putShort(frame, topic);
        frame.putInt(record.partition()).putLong(record.offset()).putLong(record.timestamp());
        putInt(frame, record.key());
        putInt(frame, record.value());
        frame.putShort((short) count);
        for (int i = 0; i < count; i++) {
            putShort(frame, names[i]);
            putInt(frame, headers[i].value());
        }
        frame.put((byte) (legalKey ? 1 : 0));
        return frame.array();
    }

    private static int length(byte[] bytes) {
        return bytes == null ? 0 : bytes.length;
    }

    private static void putShort(ByteBuffer frame, byte[] bytes) {
        int kept = Math.min(bytes.length, SHORT_MAX);
        frame.putShort((short) kept).put(bytes, 0, kept);
    }

    private static void putInt(ByteBuffer frame, byte[] bytes) {
        frame.putInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) {
            frame.put(bytes);
        }
    }
}
