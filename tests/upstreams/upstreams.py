"""The real upstreams: how each is started, what it is, and what it reads loosely."""

import atexit
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from gateways import BUILT, ROOM, ROOT, Process, free_port

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = HERE / "servers"
# Where servers that give up root's rights can read, whoever may enter this directory.
FILES = pathlib.Path(tempfile.mkdtemp(prefix="upstreams-"))
FILES.chmod(0o755)
atexit.register(shutil.rmtree, FILES, ignore_errors=True)
PYTHON = ROOM / "python/bin/python"

# What is read as another path on purpose, and the switch of portcullis for it.
ODD = {
    "express": {"case"}, "fastify-loose": {"case"}, "chi-format": {"extension"}, "nginx-files": {"extension"},
    "httpd-files": {"extension"}, "spring-suffix": {"extension"},
}
SHORT = ["axum", "express", "fastify", "fastify-loose", "starlette", "django", "flask", "nginx", "nginx-files"]
LONG = [*SHORT, "servemux", "chi", "chi-format", "httpd", "httpd-files", "spring", "spring-suffix"]

# The handler at each plain path.
PLAIN = {
    "/": "home", "/public/a": "public", "/static/app.js": "static", "/users/7": "user", "/api/healthcheck": "health",
    "/admin": "admin", "/admin/settings": "below", "/api/agents": "agents", "/api/agents/7": "agent", "/users/7/keys": "keys",
}
# A directory beside a file of that name comes first there: these are to be had as files alone.
HIDDEN = {"httpd-files": {"/admin": "/admin.html", "/users/7": "/users/7.html", "/api/agents": "/api/agents.html"}}


def make_files():
    """What servers of files serve; each file has the name of its handler in it."""
    names = ["home", "public", "static", "user", "health", "admin", "below", "agents", "agent", "keys"]
    tree = {
        "index": "home", "public/index": "public", "public/a": "public", "users/7": "user", "users/7/keys": "keys",
        "api/healthcheck": "health", "api/agents": "agents", "api/agents/7": "agent", "admin": "admin",
        "admin/settings": "below", "admin/users/7": "below",
    }
    files = {f"names/{name}.html": name for name in names}
    files |= {f"tree/{path}.html": name for path, name in tree.items()}
    files |= {"static/app.js": "static", "tree/static/app.js": "static", "open/index.html": "home"}
    # Beside what is served: who gets out of `static` finds it.
    files |= {"admin": "admin", "admin.html": "admin"}
    for path, name in files.items():
        file = FILES / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"handler={name}\n")


def written(name, into, **places):
    text = (SERVERS / name).read_text()
    for place, value in {"ROOM": ROOM, "FILES": FILES, **places}.items():
        text = text.replace(f"@{place}@", str(value))
    file = ROOM / into
    file.write_text(text)
    return file


def start(kinds):
    """Those of these kinds, by their names."""
    make_files()
    running = {}
    for kind in kinds:
        port = free_port()
        of_files = free_port()
        variables = {}
        if kind == "axum":
            command = [BUILT / "examples/upstream", port]
        elif kind in ("express", "fastify", "fastify-loose"):
            command = ["node", SERVERS / "node/routes.mjs", kind, port, FILES]
            variables = {"UPSTREAMS_NODE": str(ROOM / "node")}
        elif kind in ("starlette", "django", "flask"):
            command = [PYTHON, "-B", SERVERS / "routes.py", kind, port, FILES]
        elif kind in ("servemux", "chi", "chi-format"):
            command = [ROOM / "go-upstreams", kind, port, FILES]
        elif kind == "nginx":
            file = written("nginx.conf", "upstream-nginx.conf", PORT=port, FILES_PORT=of_files)
            command = ["nginx", "-p", ROOM, "-c", file]
        elif kind == "httpd":
            modules = "/usr/lib/apache2/modules"
            file = written("httpd.conf", "httpd.conf", PORT=port, FILES_PORT=of_files, MODULES=modules)
            command = ["/usr/sbin/apache2", "-f", file, "-D", "FOREGROUND"]
        elif kind in ("spring", "spring-suffix"):
            name, runs = ("spring", "Routes") if kind == "spring" else ("suffix", "Suffix")
            command = ["java", "-Xmx256m", "-cp", f"{ROOM}/{name}/classes:{ROOM}/{name}/lib/*", runs, port, ROOM / name]
        else:
            # The second server of the same process.
            running[kind] = running[kind.removesuffix("-files")].files
            continue
        running[kind] = Process(f"upstream-{kind}", command, port, **variables)
        running[kind].files = Second(running[kind], of_files)
    for one in running.values():
        one.wait()
    return running


class Second:
    """Another port of a process."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def wait(self):
        self.process.wait()


def version(kind):
    """What it is, as it says itself."""
    def said(*command):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def of_python(*packages):
        asked = "from importlib.metadata import version;print(*(n+' '+version(n) for n in %r),sep=', ')" % (packages,)
        return said(PYTHON, "-c", asked).strip()

    def of_jar(name, jar):
        found = next((ROOM / name / "lib").glob(f"{jar}-[0-9]*.jar"))
        return re.search(r"-([0-9][^/]*)\.jar$", found.name)[1]

    if kind == "axum":
        lock = (ROOT / "Cargo.lock").read_text()
        return "axum " + re.search(r'name = "axum"\nversion = "([^"]+)"', lock)[1]
    if kind in ("express", "fastify", "fastify-loose"):
        package = kind.removesuffix("-loose")
        manifest = (ROOM / f"node/node_modules/{package}/package.json").read_text()
        return f"{package} " + re.search(r'"version": *"([^"]+)"', manifest)[1] + ", Node " + said("node", "--version").strip()
    if kind in ("starlette", "django", "flask"):
        return of_python(kind, "uvicorn" if kind == "starlette" else "waitress")
    if kind in ("servemux", "chi", "chi-format"):
        go = said("go", "version").split()[2]
        chi = re.search(r"chi/v5 v(\S+)", (SERVERS / "go/go.mod").read_text())[1]
        return go if kind == "servemux" else f"chi {chi}, {go}"
    if kind.startswith("nginx"):
        return said("nginx", "-v").strip().removeprefix("nginx version: ")
    if kind.startswith("httpd"):
        return re.search(r"Apache/\S+", said("/usr/sbin/apache2", "-v"))[0]
    if kind == "spring":
        return f"Spring Boot {of_jar('spring', 'spring-boot')}, Tomcat {of_jar('spring', 'tomcat-embed-core')}"
    if kind == "spring-suffix":
        return f"Spring MVC {of_jar('suffix', 'spring-webmvc')}, Tomcat {of_jar('suffix', 'tomcat-embed-core')}"
    sys.exit(f"no upstream is called {kind}")
