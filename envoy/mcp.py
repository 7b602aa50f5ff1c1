"""An MCP server behind portcullis, by mcp.yaml and mcp.toml, and a client at it."""

import subprocess
import sys
import time

from processes import ROOM, ROOT, Processes, curl

# The ports of mcp.yaml, mcp.toml and nginx.conf, and what stands there.
MCP_PORTS = {
    "gateway": 8000, "portcullis": 9191, "internal": 9192, "http": 8080,
    "mcp": 8081, "authorization": 9500, "admin": 9901,
}  # fmt: skip
NODE = ROOT / "tests/node"


class Mcp(Processes):
    """Envoy or nginx, portcullis, an MCP server and who issues tokens for it."""

    def __init__(self, ports, sso):
        super().__init__(ports, sso)
        self.site = f"http://127.0.0.1:{ports['gateway']}"
        self.resource = f"{self.site}/mcp"
        self.flags = []
        self.environment.update(
            PORTCULLIS__INTERNAL__LISTEN=f"127.0.0.1:{ports['internal']}",
            PORTCULLIS__CHECK__LISTEN=f"127.0.0.1:{ports['portcullis']}",
            PORTCULLIS__HTTP__LISTEN=f"127.0.0.1:{ports['http']}",
            RESOURCE=self.resource,
        )

    def start(self, gateway):
        config = self.at_ports((ROOT / "envoy/mcp.toml").read_text(), MCP_PORTS)
        if gateway == "nginx":
            # It sends no body: no rule can be for a tool of this protocol's version.
            config = config.partition('\n[[rules]]\nname = "mcp-write"')[0]
            self.flags = ["--by-path"]
        file = ROOM / "mcp.toml"
        file.write_text(config)
        for name, program in [("authorization", "authorization.mjs"), ("mcp", "mcp_server.mjs")]:
            self.spawn(name, ["node", NODE / program], PORT=str(self.ports[name]))
            self.wait(name)
        self.spawn("portcullis", [ROOT / "target/debug/portcullis", "serve", "--config", file])
        self.wait("portcullis")
        self.wait("internal", "portcullis")
        self.start_gateway(gateway, "envoy/mcp.yaml", MCP_PORTS)
        deadline = time.monotonic() + 30
        # The gateway may be up before it has seen that the others are.
        while curl(f"{self.site}/.well-known/oauth-protected-resource/mcp")[0] != 200:
            if time.monotonic() > deadline:
                sys.exit(f"the resource is told of nowhere; see {ROOM.relative_to(ROOT)}/portcullis.log")
            time.sleep(0.1)

    def round_trip(self):
        """Whether a client comes to all that it may, and to no more."""
        print(f"\na client that knows {self.resource} alone", flush=True)
        command = ["node", NODE / "mcp_client.mjs", self.resource, *self.flags]
        return subprocess.run(command, timeout=60).returncode == 0

    def hints(self):
        """What to try next."""
        print(f"""
Give {self.resource} to any MCP client, and sign in as anybody.
Try next:
  node tests/node/mcp_client.mjs {" ".join([self.resource, *self.flags])}
  curl -i {self.site}/.well-known/oauth-protected-resource/mcp
  curl -i {self.resource}
  tail -f target/envoy/run/portcullis.log    # the decisions

Ctrl-C stops everything.""", flush=True)
