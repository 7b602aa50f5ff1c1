import org.jose4j.jwa.AlgorithmConstraints.ConstraintType;
import org.jose4j.jwk.HttpsJwks;
import org.jose4j.jwt.JwtClaims;
import org.jose4j.jwt.consumer.InvalidJwtException;
import org.jose4j.jwt.consumer.JwtConsumer;
import org.jose4j.jwt.consumer.JwtConsumerBuilder;
import org.jose4j.keys.resolvers.HttpsJwksVerificationKeyResolver;

final class Verify {
    private static final String GATEWAY = "https://gw.example.com";
    private static final JwtConsumer CONSUMER = new JwtConsumerBuilder()
            .setVerificationKeyResolver(new HttpsJwksVerificationKeyResolver(
                    new HttpsJwks(GATEWAY + "/.well-known/jwks.json")))
            .setJwsAlgorithmConstraints(ConstraintType.PERMIT, "ES256", "EdDSA")
            .setExpectedType(true, "at+jwt") // no token of its clients
            .setExpectedIssuer(GATEWAY)
            .setExpectedAudience("https://tools.internal")
            .setRequireExpirationTime()
            .setRequireSubject()
            .build();

    /** Who is it? Throws for what the gateway has not signed for this service. */
    static JwtClaims user(String authorization) throws InvalidJwtException {
        return CONSUMER.processToClaims(authorization.replaceFirst("^Bearer ", ""));
    }
}
