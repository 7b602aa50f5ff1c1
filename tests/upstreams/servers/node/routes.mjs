// One service in two frameworks of Node, each as it comes, and Fastify with all that it
// may read more loosely. Each answers with the name of the handler that it reached.
//
//     routes.mjs express|fastify|fastify-loose PORT FILES
import { createRequire } from "node:module";
import { join } from "node:path";

const [kind, port, files] = process.argv.slice(2);
// The packages are under target/.
const load = createRequire(join(process.env.UPSTREAMS_NODE, "package.json"));

function express() {
    const make = load("express");
    const app = make();
    const to = (name) => (_, answer) => answer.type("text/plain").send(`handler=${name}\n`);
    app.get("/", to("home"));
    app.get("/api/healthcheck", to("health"));
    app.use("/static", make.static(join(files, "static")));
    app.get("/users/:id", to("user"));
    app.get("/users/:id/keys", to("keys"));
    app.get("/api/agents", to("agents"));
    app.get("/api/agents/:id", to("agent"));
    app.get("/admin", to("admin"));
    app.use("/admin", to("below"));
    app.use("/public", to("public"));
    app.use((_, answer) => answer.status(404).type("text/plain").send("handler=none\n"));
    app.use((_error, _request, answer, _next) => answer.status(400).type("text/plain").send("handler=none\n"));
    app.listen(Number(port), "127.0.0.1");
}

async function fastify(options) {
    const make = load("fastify");
    const app = make(options);
    const to = (name) => async (_, answer) => answer.type("text/plain").send(`handler=${name}\n`);
    app.get("/", to("home"));
    app.get("/api/healthcheck", to("health"));
    app.get("/public", to("public"));
    app.get("/public/*", to("public"));
    app.register(load("@fastify/static"), { root: join(files, "static"), prefix: "/static/" });
    app.get("/users/:id", to("user"));
    app.get("/users/:id/keys", to("keys"));
    app.get("/api/agents", to("agents"));
    app.get("/api/agents/:id", to("agent"));
    app.get("/admin", to("admin"));
    app.get("/admin/*", to("below"));
    app.setNotFoundHandler((_, answer) => answer.status(404).type("text/plain").send("handler=none\n"));
    await app.listen({ port: Number(port), host: "127.0.0.1" });
}

if (kind === "express") {
    express();
} else if (kind === "fastify") {
    await fastify({});
} else {
    const routerOptions = {
        caseSensitive: false,
        ignoreTrailingSlash: true,
        ignoreDuplicateSlashes: true,
        useSemicolonDelimiter: true,
    };
    await fastify({ routerOptions });
}
