import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** An upstream of Spring MVC on Tomcat: it answers with the name of the handler reached. */
// Without a search for more: without a package that would be all there is.
@SpringBootConfiguration
@EnableAutoConfiguration
@RestController
public class Routes {
    @GetMapping("/")
    String home() { return "handler=home\n"; }

    @GetMapping("/api/healthcheck")
    String health() { return "handler=health\n"; }

    @GetMapping({"/public", "/public/**"})
    String open() { return "handler=public\n"; }

    @GetMapping("/static/**")
    String files() { return "handler=static\n"; }

    @GetMapping("/users/{id}")
    String user() { return "handler=user\n"; }

    @GetMapping("/users/{id}/keys")
    String keys() { return "handler=keys\n"; }

    @GetMapping("/api/agents")
    String agents() { return "handler=agents\n"; }

    @GetMapping("/api/agents/{id}")
    String agent() { return "handler=agent\n"; }

    @GetMapping("/admin")
    String admin() { return "handler=admin\n"; }

    @GetMapping("/admin/**")
    String below() { return "handler=below\n"; }

    public static void main(String[] arguments) {
        SpringApplication application = new SpringApplication(Routes.class);
        application.setDefaultProperties(Map.of(
                "server.address", "127.0.0.1",
                "server.port", arguments[0],
                "server.tomcat.max-keep-alive-requests", "-1",
                "spring.main.banner-mode", "off",
                "logging.level.root", "ERROR"));
        application.run();
    }
}
