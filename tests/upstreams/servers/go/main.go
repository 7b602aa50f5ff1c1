// One service by Go's own ServeMux and by chi; with chi also in the form that takes an
// extension and a slash off. Each answers with the name of the handler that it reached.
//
//	upstreams servemux|chi|chi-format PORT FILES
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

func to(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "handler=%s\n", name) }
}

func serveMux(static http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", to("home"))
	mux.HandleFunc("/api/healthcheck", to("health"))
	mux.HandleFunc("/public", to("public"))
	mux.HandleFunc("/public/", to("public"))
	mux.Handle("/static/", static)
	mux.HandleFunc("/users/{id}", to("user"))
	mux.HandleFunc("/users/{id}/keys", to("keys"))
	mux.HandleFunc("/api/agents", to("agents"))
	mux.HandleFunc("/api/agents/{id}", to("agent"))
	mux.HandleFunc("/admin", to("admin"))
	mux.HandleFunc("/admin/", to("below"))
	return mux
}

func ofChi(static http.Handler, loose bool) http.Handler {
	router := chi.NewRouter()
	if loose {
		router.Use(middleware.StripSlashes, middleware.URLFormat)
	}
	router.Get("/", to("home"))
	router.Get("/api/healthcheck", to("health"))
	router.Get("/public", to("public"))
	router.Get("/public/*", to("public"))
	router.Get("/static/*", static.ServeHTTP)
	router.Get("/users/{id}", to("user"))
	router.Get("/users/{id}/keys", to("keys"))
	router.Get("/api/agents", to("agents"))
	router.Get("/api/agents/{id}", to("agent"))
	router.Get("/admin", to("admin"))
	router.Get("/admin/*", to("below"))
	return router
}

func main() {
	kind, port, files := os.Args[1], os.Args[2], os.Args[3]
	static := http.StripPrefix("/static/", http.FileServer(http.Dir(filepath.Join(files, "static"))))
	handler := serveMux(static)
	if kind != "servemux" {
		handler = ofChi(static, kind == "chi-format")
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, handler))
}
