"""One service in three frameworks of Python. Each answers with the name of the handler
that it reached.

    routes.py starlette|django|flask PORT FILES
"""

import sys

KIND, PORT, FILES = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def starlette():
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    def to(name):
        async def handler(_):
            return PlainTextResponse(f"handler={name}\n")
        return handler

    app = Starlette(routes=[
        Route("/", to("home")),
        Route("/api/healthcheck", to("health")),
        Route("/public", to("public")),
        Route("/public/{rest:path}", to("public")),
        Mount("/static", StaticFiles(directory=f"{FILES}/static")),
        Route("/users/{id}", to("user")),
        Route("/users/{id}/keys", to("keys")),
        Route("/api/agents", to("agents")),
        Route("/api/agents/{id}", to("agent")),
        Route("/admin", to("admin")),
        Mount("/admin", routes=[Route("/{rest:path}", to("below"))]),
        Route("/{rest:path}", to("none")),
    ])
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)


def django():
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path, re_path
    from django.views.static import serve
    from django.core.wsgi import get_wsgi_application
    import waitress

    def to(name):
        return lambda request, **_: HttpResponse(f"handler={name}\n")

    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of no use here", DEBUG=False,
        # With Django's own answer to a path without its slash.
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"], APPEND_SLASH=True,
        LOGGING_CONFIG=None,
    )
    global urlpatterns
    urlpatterns = [
        path("", to("home")),
        path("api/healthcheck", to("health")),
        re_path(r"^public(?:/.*)?$", to("public")),
        re_path(r"^static/(?P<path>.*)$", serve, {"document_root": f"{FILES}/static"}),
        path("users/<str:id>", to("user")),
        re_path(r"^users/(?P<id>[^/]+)/keys/?$", to("keys")),
        path("api/agents", to("agents")),
        path("api/agents/<str:id>", to("agent")),
        path("admin", to("admin")),
        path("admin/", to("below")),
        path("admin/<path:rest>", to("below")),
    ]
    waitress.serve(get_wsgi_application(), host="127.0.0.1", port=PORT, threads=4, _quiet=True)


def flask():
    import logging

    import waitress
    from flask import Flask, send_from_directory

    logging.disable()
    app = Flask(__name__, static_folder=None)

    def to(rule, name):
        app.add_url_rule(rule, rule, lambda **_: f"handler={name}\n")

    to("/", "home")
    to("/api/healthcheck", "health")
    to("/public", "public")
    to("/public/<path:rest>", "public")
    app.add_url_rule("/static/<path:name>", "static", lambda name: send_from_directory(f"{FILES}/static", name))
    to("/users/<id>", "user")
    to("/users/<id>/keys", "keys")
    to("/api/agents", "agents")
    to("/api/agents/<id>", "agent")
    to("/admin", "admin")
    to("/admin/", "below")
    to("/admin/<path:rest>", "below")
    waitress.serve(app, host="127.0.0.1", port=PORT, threads=4, _quiet=True)


{"starlette": starlette, "django": django, "flask": flask}[KIND]()
