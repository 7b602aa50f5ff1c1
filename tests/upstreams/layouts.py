"""The rules that are tried, and what each of them guards."""

# What every layout that is open elsewhere closes. A pattern of one shape is written for
# both forms, as `check-config` advises: with a slash at its end and without.
AGENTS = [("agents", 'path_prefix = "/api/agents"'), ("admin", 'path_prefix = "/admin"')]
KEYS = [("keys", 'path_template = "/users/{id}/keys"'), ("keys-slash", 'path_template = "/users/{id}/keys/"')]
# And where a variable stands at its end, for the form without a value, which some take
# for the list, and some for an agent.
AGENT = [("agent", 'path_template = "/api/agents/{id}"'), ("agent-slash", 'path_template = "/api/agents/{id}/"'),
         ("agents", 'path = "/api/agents"'), ("agents-slash", 'path = "/api/agents/"')]
EXACT = [("admin", 'path = "/admin"'), ("admin-slash", 'path = "/admin/"')]

PUBLIC = 'access = "public"'
ADMIN = 'roles = ["ADMIN"]'
ANYBODY = 'access = "authenticated"'

FORMS = 'path_allow = ["encoded-slash", "semicolon", "encoded-percent", "encoded-hash", "encoded-question-mark"]'
SWITCHES = {"case": "case_insensitive = true", "extension": "ignore_extension = true"}

HEALTH = ("health", 'path = "/api/healthcheck"', PUBLIC)


def guarded(rules, access=ADMIN):
    return [(name, path, access) for name, path in rules]


# By name: the rules, what they guard, and whose token is sent (none for anonymous).
LAYOUTS = {
    # What no rule is for is denied.
    "closed": (
        [("home", 'path = "/"', PUBLIC), ("public", 'path_prefix = "/public"', PUBLIC), HEALTH,
         ("static", 'path_prefix = "/static"', PUBLIC), ("user", 'path_template = "/users/{id}"', PUBLIC)],
        {"admin", "below", "agents", "agent", "keys"}, None,
    ),
    # Everything is open but for what is guarded.
    "open": (
        [("open", 'path_prefix = "/"', PUBLIC), *guarded([*AGENTS, *KEYS])],
        {"admin", "below", "agents", "agent", "keys"}, None,
    ),
    # By the shape of a path.
    "templates": (
        [("open", 'path_prefix = "/"', PUBLIC), *guarded([*AGENT, *KEYS])],
        {"agent", "keys"}, None,
    ),
    # One very path.
    "exact": ([("open", 'path_prefix = "/"', PUBLIC), *guarded(EXACT)], {"admin"}, None),
    # Everybody who is signed in, and some of them; asked by one who is not among these.
    "roles": (
        [("signed-in", 'path_prefix = "/"', ANYBODY), *guarded([*AGENTS, *KEYS])],
        {"admin", "below", "agents", "agent", "keys"}, "REGULAR",
    ),
    # At one host; what is elsewhere has an open prefix alone.
    "hosts": (
        [("open", 'path_prefix = "/"\nhosts = ["app.example.com"]', PUBLIC),
         *guarded([(name, f'{path}\nhosts = ["app.example.com"]') for name, path in [*AGENTS, *KEYS]]),
         ("elsewhere", 'path_prefix = "/public"', PUBLIC)],
        {"admin", "below", "agents", "agent", "keys"}, None,
    ),
}
# With every form of `path_allow`: each reading of such a path has to lead to one rule.
LAYOUTS["forms"] = LAYOUTS["open"]
# A pattern in one form alone, of which `check-config` warns.
LAYOUTS["one-form"] = (
    [("open", 'path_prefix = "/"', PUBLIC), *guarded([KEYS[0]])], {"keys"}, None,
)


def configuration(layout, switches=()):
    """portcullis.toml of it."""
    lines = ["[check]", *(SWITCHES[switch] for switch in switches)]
    if layout == "forms":
        lines.append(FORMS)
    for name, path, access in LAYOUTS[layout][0]:
        lines += ["[[rules]]", f'name = "{name}"', path, access]
    return "\n".join(lines) + "\n"
