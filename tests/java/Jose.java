import java.nio.charset.StandardCharsets;
import org.jose4j.jws.AlgorithmIdentifiers;
import org.jose4j.jws.JsonWebSignature;
import org.jose4j.jwt.JwtClaims;
import org.jose4j.jwt.NumericDate;
import org.jose4j.jwt.consumer.JwtConsumer;
import org.jose4j.jwt.consumer.JwtConsumerBuilder;
import org.jose4j.keys.HmacKey;

/** Reads and makes tokens as Texera's services do: the secret's bytes as the key,
 *  half a minute for clocks, an expiry, and a number for the user's id. */
public final class Jose {
    public static void main(String[] arguments) throws Exception {
        HmacKey key = new HmacKey(arguments[1].getBytes(StandardCharsets.UTF_8));
        switch (arguments[0]) {
            case "verify" -> verify(key, arguments[2]);
            case "make" -> make(key, Long.parseLong(arguments[2]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static void verify(HmacKey key, String token) throws Exception {
        JwtConsumer consumer = new JwtConsumerBuilder()
                .setAllowedClockSkewInSeconds(30)
                .setRequireExpirationTime()
                .setVerificationKey(key)
                .setRelaxVerificationKeyValidation()
                .build();
        JwtClaims claims = consumer.processToClaims(token);
        Long id = claims.getClaimValue("userId", Long.class);
        String email = claims.getClaimValue("email", String.class);
        String role = claims.getClaimValue("role", String.class);
        System.out.println(id + " " + claims.getSubject() + " " + email + " " + role);
    }

    /** A week from so many seconds ahead, without the time of issue. */
    private static void make(HmacKey key, long ahead) throws Exception {
        JwtClaims claims = new JwtClaims();
        claims.setSubject("ann");
        claims.setClaim("userId", 7);
        claims.setClaim("googleId", null);
        claims.setClaim("email", "ann@example.com");
        claims.setClaim("role", "REGULAR");
        NumericDate end = NumericDate.now();
        end.addSeconds(7 * 24 * 3600 + ahead);
        claims.setExpirationTime(end);
        JsonWebSignature signature = new JsonWebSignature();
        signature.setPayload(claims.toJson());
        signature.setAlgorithmHeaderValue(AlgorithmIdentifiers.HMAC_SHA256);
        signature.setKey(key);
        System.out.println(signature.getCompactSerialization());
    }
}
