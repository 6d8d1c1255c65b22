// SPDX-License-Identifier: Apache-2.0
package threadlog;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;

/**
 * Frames of KafkaInput, put together by the Kafka partition that they come from: Row(partition STRING, batch BYTE[]).
 *
 * <p>A batch is a row of: u32 length | frame. To carry a hundred records at once through the network and into Python costs
 * little more than to carry one.
 *
 * <p>Before a checkpoint's barrier each partition of which there was anything since the last one is given an empty batch:
 * whoever keeps state of it in memory writes it down. The barrier must not overtake that, so checkpoints are aligned. No
 * record waits when a watermark comes, the last one at the end of a bounded source.
 *
 * <p>The key of partition p is "p.SALT", with the salt that puts the partitions at equal distances among the key groups, so
 * that subtasks get as many as each other.
 */
public final class ByPartition extends AbstractStreamOperator<Row> implements OneInputStreamOperator<Row, Row> {
    private static final long serialVersionUID = 1L;
    private static final int BATCH_BYTES = 128 * 1024;

    private transient Map<Integer, Batch> batches;

    @Override
    public void open() throws Exception {
        super.open();
        batches = new TreeMap<>();
    }

    @Override
    public void processElement(StreamRecord<Row> element) {
        byte[] frame = (byte[]) element.getValue().getField(1);
        Batch batch = batches.computeIfAbsent(partition(frame), partition -> new Batch(key(partition)));
        batch.add(frame);
        if (batch.frames.size() >= BATCH_BYTES) {
            emit(batch);
        }
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpointId) {
        for (Batch batch : batches.values()) {
            emit(batch);
            if (batch.isNews) {
                output.collect(new StreamRecord<>(Row.of(batch.key, new byte[0])));
                batch.isNews = false;
            }
        }
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        batches.values().forEach(this::emit);
        super.processWatermark(mark);
    }

    private void emit(Batch batch) {
        if (batch.frames.size() > 0) {
            output.collect(new StreamRecord<>(Row.of(batch.key, batch.frames.toByteArray())));
            batch.frames.reset();
        }
    }

    private static int partition(byte[] frame) {
        ByteBuffer bytes = ByteBuffer.wrap(frame);
        return bytes.getInt(2 + Short.toUnsignedInt(bytes.getShort(0)));
    }

    private String key(int partition) {
        int groups = getRuntimeContext().getTaskInfo().getMaxNumberOfParallelSubtasks();
        // 0, 1/2, 1/4, 3/4, 1/8, … of all groups: even for any number of partitions.
        int group = (int) (Integer.toUnsignedLong(Integer.reverse(partition)) * groups >>> 32);
        for (int salt = 0; ; salt++) {
            String key = partition + "." + salt;
            if (KeyGroupRangeAssignment.assignToKeyGroup(Row.of(key), groups) == group) {
                return key;
            }
        }
    }

    private static final class Batch {
        private final String key;
        private final ByteArrayOutputStream frames = new ByteArrayOutputStream(BATCH_BYTES + BATCH_BYTES / 2);
        private boolean isNews;

        private Batch(String key) {
            this.key = key;
        }

        private void add(byte[] frame) {
            int size = frame.length;
            frames.write(size >>> 24);
            frames.write(size >>> 16);
            frames.write(size >>> 8);
            frames.write(size);
            frames.write(frame, 0, size);
            isNews = true;
        }
    }
}
