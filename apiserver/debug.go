package apiserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"

	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/statusz"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/component-base/logs"
)

// debugPaths answers what is below /debug; nil if there is nothing of that name. Who may ask is up to
// authorization, as everywhere.
func (s *Server) debugPath(path string) http.Handler {
	if !s.options.Profiling {
		return nil
	}
	return debugHandler(path)
}

// serveDebug answers what is below /debug to whoever can connect to l, until ctx ends.
func serveDebug(ctx context.Context, l net.Listener) error {
	h := &http.Server{ReadHeaderTimeout: headerTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found := debugHandler(r.URL.Path)
		if found == nil {
			found = http.NotFoundHandler()
		}
		found.ServeHTTP(w, r)
	})}
	defer context.AfterFunc(ctx, func() { _ = h.Close() })()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func debugHandler(path string) http.Handler {
	rest, ok := strings.CutPrefix(path, "/debug/")
	if !ok {
		return nil
	}
	switch rest {
	case "pprof":
		return http.RedirectHandler("/debug/pprof/", http.StatusFound)
	case "pprof/cmdline":
		return http.HandlerFunc(pprof.Cmdline)
	case "pprof/profile":
		return http.HandlerFunc(pprof.Profile)
	case "pprof/symbol":
		return http.HandlerFunc(pprof.Symbol)
	case "pprof/trace":
		return http.HandlerFunc(pprof.Trace)
	case "flags", "flags/":
		return http.HandlerFunc(flagIndex)
	case "flags/v":
		return http.HandlerFunc(setVerbosity)
	}
	if strings.HasPrefix(rest, "pprof/") {
		return http.HandlerFunc(pprof.Index)
	}
	return nil
}

func flagIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<html>\n<head>\n<title>/debug/flags/</title>\n</head>\n<body>\n/debug/flags/<br>\n<br>\nflags:<br>\n"+
		"<table>\n<tr>v<br>\n</table>\n<br>\nfull flags configurable<br>\n</body>\n</html>\n")
}

// setVerbosity sets how much is logged.
func setVerbosity(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, text string) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
	if r.Method != http.MethodPut {
		answer(http.StatusNotAcceptable, "unsupported http method")
		return
	}
	const longest = 64
	body, err := io.ReadAll(io.LimitReader(r.Body, longest))
	if err != nil {
		answer(http.StatusBadRequest, "error reading request body: "+err.Error())
		return
	}
	done, err := logs.GlogSetter(string(body))
	if err != nil {
		answer(http.StatusBadRequest, err.Error())
		return
	}
	answer(http.StatusOK, done)
}

// pages are /statusz and /flagz. They are upstream's own, and made when somebody first looks.
type pages struct {
	once     sync.Once
	handlers onePath
}

// onePath is a mux with few paths.
type onePath map[string]http.Handler

// Handle adds a path; packages statusz and flagz call it.
func (m onePath) Handle(path string, h http.Handler) { m[path] = h }

func (s *Server) page(path string) http.Handler {
	if path != statusz.DefaultStatuszPath && path != flagz.DefaultFlagzPath {
		return nil
	}
	s.pages.once.Do(func() {
		s.pages.handlers = onePath{}
		statusz.Install(s.pages.handlers, component, statusz.NewRegistry(compatibility.DefaultBuildEffectiveVersion(), statusz.WithListedPaths(s.paths())))
		if s.options.Flags != nil {
			flagz.Install(s.pages.handlers, component, flagReader(s.options.Flags))
		}
	})
	return s.pages.handlers[path]
}

// flagReader shows the flags that the process was started with.
type flagReader func() map[string]string

// GetFlagz implements flagz.Reader.
func (f flagReader) GetFlagz() map[string]string { return f() }
