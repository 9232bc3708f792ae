// Command front is the web half of the demonstration: a page that shows the notes of the store and adds
// new ones. It finds the store by name: STORE_URL, by default http://store:7070.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Clipper demo</title>
<style>body { font: 16px/1.5 sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em }
time { color: #777; font-size: 80% } li { margin: .3em 0 } .error { color: #a00 }</style>
<h1>It works</h1>
<p>This page was served by pod <b>{{.Pod}}</b>. It found the store by the name <b>{{.Store}}</b>.</p>
{{with .Error}}<p class="error">The store does not answer: {{.}}</p>{{end}}
<form method="post"><input name="note" maxlength="500" placeholder="leave a note" autofocus> <button>Add</button></form>
<ul>{{range .Notes}}<li>{{.Text}} <time>{{.At.Format "2006-01-02 15:04:05"}}</time></li>{{else}}<li>No notes yet.</li>{{end}}</ul>
</html>
`))

type note struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

type front struct {
	pod, store string
	client     *http.Client
}

func (f *front) notes(ctx context.Context) ([]note, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.store+"/notes", nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it says %s", resp.Status)
	}
	var list []note
	err = json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(&list)
	return list, err
}

func (f *front) add(ctx context.Context, text string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.store+"/notes", strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return http.StatusBadGateway, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return resp.StatusCode, fmt.Errorf("%s", strings.TrimSpace(string(b)))
	}
	return resp.StatusCode, nil
}

func (f *front) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		list, err := f.notes(r.Context())
		if err != nil {
			slog.Warn("Reading notes failed", "err", err)
			w.WriteHeader(http.StatusBadGateway)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		data := map[string]any{"Pod": f.pod, "Store": f.store, "Notes": list}
		if err != nil {
			data["Error"] = err.Error()
		}
		if err := page.Execute(w, data); err != nil {
			slog.Debug("The client went away", "err", err)
		}
	})
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		if status, err := f.add(r.Context(), r.FormValue("note")); err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return mux
}

func main() {
	f := &front{store: os.Getenv("STORE_URL"), client: &http.Client{Timeout: 5 * time.Second}}
	if f.store == "" {
		f.store = "http://store:7070"
	}
	f.pod, _ = os.Hostname() // only shown
	if err := serve(f.handler(), ":8080"); err != nil {
		slog.Error("The front stopped", "err", err)
		os.Exit(1)
	}
}

func serve(h http.Handler, addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("Serving the page", "addr", addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(last)
}
