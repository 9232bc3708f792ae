// Command store is the back half of the demonstration: it keeps notes in a file and serves them over HTTP
// to the front. One replica; the directory is given by STORE_DIR.
//
//	GET  /notes           all notes, as a JSON list, oldest first
//	POST /notes           adds the body, one note of up to 500 bytes
//	GET  /healthz         200 once the notes are loaded
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	maxNote  = 500
	maxNotes = 1000 // what is kept in memory and shown
)

// A Note is one line of the file.
type Note struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// notes is an append-only file and its tail in memory.
type notes struct {
	mu   sync.Mutex
	file *os.File
	list []Note
}

func load(dir string) (*notes, error) {
	path := filepath.Join(dir, "notes.jsonl")
	n := &notes{}
	old, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		defer old.Close()
		for s := bufio.NewScanner(old); s.Scan(); {
			var note Note
			if json.Unmarshal(s.Bytes(), &note) == nil { // a line cut off by a crash is not a note
				n.keep(note)
			}
		}
	}
	n.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return n, err
}

func (n *notes) keep(note Note) {
	n.list = append(n.list, note)
	if len(n.list) > maxNotes {
		n.list = append([]Note(nil), n.list[len(n.list)-maxNotes:]...)
	}
}

func (n *notes) add(text string) error {
	note := Note{At: time.Now().UTC().Truncate(time.Second), Text: text}
	b, err := json.Marshal(note)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.file.Write(append(b, '\n')); err != nil {
		return err
	}
	n.keep(note)
	return nil
}

func (n *notes) all() []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Note{}, n.list...)
}

func (n *notes) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(n.all()); err != nil {
			slog.Debug("The client went away", "err", err)
		}
	})
	mux.HandleFunc("POST /notes", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNote))
		text := strings.TrimSpace(string(b))
		if err != nil || text == "" || !utf8.ValidString(text) {
			http.Error(w, fmt.Sprintf("a note has 1 to %d bytes of text", maxNote), http.StatusBadRequest)
			return
		}
		if err := n.add(text); err != nil {
			slog.Error("Saving a note failed", "err", err)
			http.Error(w, "the note could not be saved", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	return mux
}

func main() {
	dir := os.Getenv("STORE_DIR")
	if dir == "" {
		dir = "/data"
	}
	if err := serve(dir, ":7070"); err != nil {
		slog.Error("The store stopped", "err", err)
		os.Exit(1)
	}
}

func serve(dir, addr string) error {
	n, err := load(dir)
	if err != nil {
		return fmt.Errorf("load notes: %w", err)
	}
	defer n.file.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: addr, Handler: n.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("Serving notes", "addr", addr, "dir", dir, "notes", len(n.list))
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(last)
}
