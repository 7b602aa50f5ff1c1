import java.io.IOException;
import java.io.File;
import javax.servlet.http.HttpServletResponse;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;
import org.springframework.context.annotation.Configuration;
import org.springframework.stereotype.Controller;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.ResponseBody;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;
import org.springframework.web.servlet.DispatcherServlet;
import org.springframework.web.servlet.config.annotation.EnableWebMvc;
import org.springframework.web.servlet.config.annotation.PathMatchConfigurer;
import org.springframework.web.servlet.config.annotation.WebMvcConfigurer;

/**
 * The same on Spring MVC 5.3 and Tomcat 9, with what was the rule before 5.3: a suffix and
 * a slash at the end change nothing.
 */
public class Suffix {
    @Configuration
    @EnableWebMvc
    public static class Settings implements WebMvcConfigurer {
        @Override
        @SuppressWarnings("deprecation")
        public void configurePathMatch(PathMatchConfigurer paths) {
            paths.setUseSuffixPatternMatch(true);
            paths.setUseTrailingSlashMatch(true);
        }
    }

    @Controller
    public static class Handlers {
        private static String to(String name, HttpServletResponse answer) throws IOException {
            answer.setContentType("text/plain");
            answer.getWriter().print("handler=" + name + "\n");
            return null;
        }

        @GetMapping("/") void home(HttpServletResponse answer) throws IOException { to("home", answer); }
        @GetMapping("/api/healthcheck") void health(HttpServletResponse answer) throws IOException { to("health", answer); }
        @GetMapping({"/public", "/public/**"}) void open(HttpServletResponse answer) throws IOException { to("public", answer); }
        @GetMapping("/static/**") void files(HttpServletResponse answer) throws IOException { to("static", answer); }
        @GetMapping("/users/{id}") void user(HttpServletResponse answer) throws IOException { to("user", answer); }
        @GetMapping("/users/{id}/keys") void keys(HttpServletResponse answer) throws IOException { to("keys", answer); }
        @GetMapping("/api/agents") void agents(HttpServletResponse answer) throws IOException { to("agents", answer); }
        @GetMapping("/api/agents/{id}") void agent(HttpServletResponse answer) throws IOException { to("agent", answer); }
        @GetMapping("/admin") void admin(HttpServletResponse answer) throws IOException { to("admin", answer); }
        @GetMapping("/admin/**") void below(HttpServletResponse answer) throws IOException { to("below", answer); }
    }

    public static void main(String[] arguments) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(arguments[1]);
        tomcat.setHostname("127.0.0.1");
        tomcat.setPort(Integer.parseInt(arguments[0]));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        tomcat.getConnector().setProperty("maxKeepAliveRequests", "-1");
        Context context = tomcat.addContext("", new File(arguments[1]).getAbsolutePath());
        AnnotationConfigWebApplicationContext spring = new AnnotationConfigWebApplicationContext();
        spring.register(Settings.class, Handlers.class);
        Tomcat.addServlet(context, "spring", new DispatcherServlet(spring)).setLoadOnStartup(1);
        context.addServletMappingDecoded("/", "spring");
        tomcat.start();
        tomcat.getServer().await();
    }
}
