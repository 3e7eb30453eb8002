import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Sends what the lines of standard input say; their parts are separated by tabs.
 *
 * <pre>
 * producer NAME=VALUE...                    a new producer with these settings
 * begin, commit, abort                      a transaction
 * send TOPIC PARTITION VALUE NAME=VALUE...  a record with headers; values are in Base64
 * </pre>
 */
public final class Producer {
    private KafkaProducer<byte[], byte[]> producer;
    private final List<Future<RecordMetadata>> sent = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        Producer program = new Producer();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            program.execute(line.split("\t"));
        }
        program.close();
    }

    private void execute(String[] parts) throws Exception {
        switch (parts[0]) {
            case "producer" -> open(parts);
            case "begin" -> producer.beginTransaction();
            case "commit" -> producer.commitTransaction();
            case "abort" -> {
                producer.flush();
                producer.abortTransaction();
            }
            case "send" -> send(parts);
            default -> throw new IllegalArgumentException(parts[0]);
        }
    }

    private void open(String[] parts) throws Exception {
        close();
        Properties settings = new Properties();
        for (int each = 1; each < parts.length; each++) {
            String[] setting = parts[each].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        if (settings.containsKey("transactional.id")) {
            producer.initTransactions();
        }
    }

    private void send(String[] parts) {
        byte[] value = Base64.getDecoder().decode(parts[3]);
        var record = new ProducerRecord<byte[], byte[]>(parts[1], Integer.valueOf(parts[2]), null, value);
        for (int each = 4; each < parts.length; each++) {
            String[] header = parts[each].split("=", 2);
            record.headers().add(header[0], Base64.getDecoder().decode(header[1]));
        }
        sent.add(producer.send(record));
    }

    private void close() throws Exception {
        if (producer == null) {
            return;
        }
        producer.flush();
        for (Future<RecordMetadata> each : sent) {
            each.get();
        }
        sent.clear();
        producer.close();
    }
}
