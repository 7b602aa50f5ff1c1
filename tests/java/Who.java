import org.jose4j.jwt.JwtClaims;

/** Tells who it is, of the value of `authorization` in stdin. */
public final class Who {
    public static void main(String[] arguments) throws Exception {
        JwtClaims user = Verify.user(new String(System.in.readAllBytes()).strip());
        System.out.println(user.getSubject() + " " + user.getStringClaimValue("role"));
    }
}
