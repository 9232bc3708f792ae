package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"clipper/node/runtime"
	"clipper/node/runtime/stream"
	"clipper/streamguard"
)

// streamCreation bounds how long a client may take to open its streams. Upstream's figure.
const streamCreation = 30 * time.Second

// idle is how long nothing may pass through a stream.
func (s *Server) idle() time.Duration { return s.cfg.Settings.StreamingConnectionIdleTimeout.Duration }

// streams runs commands for the streaming library, which speaks SPDY and WebSocket.
type streams struct{ rt runtime.Runtime }

// ExecInContainer implements remotecommand.Executor.
func (s streams) ExecInContainer(ctx context.Context, _, _, container string, cmd []string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, err := s.rt.Exec(ctx, container, stream.Request(ctx, cmd, in, out, stderr, tty, resize))
	if err == nil && code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return err
}

// AttachContainer implements remotecommand.Attacher.
func (s streams) AttachContainer(ctx context.Context, _, _, container string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.rt.Attach(ctx, container, stream.Request(ctx, nil, in, out, stderr, tty, resize))
}

// guarded returns what the library may take over, if the client speaks SPDY, and what is to be done when it is through.
func guarded(w http.ResponseWriter, r *http.Request, most func() int) (http.ResponseWriter, func()) {
	if wsstream.IsWebSocketRequest(r) {
		return w, func() {}
	}
	g := streamguard.Accept(w, most)
	return g, g.Close
}

// expected is how many streams the library takes of a client that has agreed upon a protocol, which the answer names.
func expected(answer http.Header, opts *remotecommand.Options) int {
	version := answer.Get(httpstream.HeaderProtocolVersion)
	resizes := version == remotecommand.StreamProtocolV3Name || version == remotecommand.StreamProtocolV4Name
	n := 1 // for errors
	for _, wanted := range []bool{opts.Stdin, opts.Stdout, opts.Stderr, opts.TTY && resizes} {
		if wanted {
			n++
		}
	}
	return n
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, _, ok := s.running(w, r)
	if !ok {
		return
	}
	name, uid := r.PathValue("ns")+"/"+r.PathValue("pod"), r.PathValue("uid")
	w, done := guarded(w, r, func() int { return expected(w.Header(), opts) })
	defer done()
	remotecommand.ServeExec(w, r, streams{s.cfg.Runtime}, name, uid, id, r.Form["command"], opts,
		s.idle(), streamCreation, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, spec, ok := s.running(w, r)
	if !ok {
		return
	}
	if spec != nil {
		opts.TTY = spec.TTY // attaching gets what the container has, whatever was asked for
		opts.Stdin = opts.Stdin && spec.Stdin
		opts.Stderr = opts.Stderr && !spec.TTY
	}
	name, uid := r.PathValue("ns")+"/"+r.PathValue("pod"), r.PathValue("uid")
	w, done := guarded(w, r, func() int { return expected(w.Header(), opts) })
	defer done()
	remotecommand.ServeAttach(w, r, streams{s.cfg.Runtime}, name, uid, id, opts,
		s.idle(), streamCreation, remotecommand.SupportedStreamingProtocols)
}

// run executes a command and answers with its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	id, _, ok := s.running(w, r)
	if !ok {
		return
	}
	var out bytes.Buffer
	code, err := s.cfg.Runtime.Exec(r.Context(), id, runtime.Exec{Command: strings.Split(r.FormValue("cmd"), " "), Stdout: &out, Stderr: &out})
	if err == nil && code != 0 {
		err = fmt.Errorf("command terminated with exit code %d: %s", code, out.String())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(out.Bytes()) //nolint:errcheck // the caller has gone
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, obj, ok := s.find(w, r)
	if !ok {
		return
	}
	if uid := r.PathValue("uid"); uid != "" && uid != string(obj.UID) {
		http.Error(w, "pod not found", http.StatusNotFound)
		return
	}
	sandbox := p.Sandbox()
	if sandbox == "" {
		http.Error(w, fmt.Sprintf("sandbox of pod %s/%s is not running", obj.Namespace, obj.Name), http.StatusInternalServerError)
		return
	}
	w, done := guarded(w, r, func() int { return 0 })
	defer done()
	portforward.ServePortForward(w, r, forwarder{s.cfg.Runtime, sandbox}, obj.Name, string(obj.UID), opts,
		s.idle(), streamCreation, portforward.SupportedProtocols)
}

// forwarder connects streams to ports of a pod's sandbox.
type forwarder struct {
	rt      runtime.Runtime
	sandbox string
}

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	err := f.rt.PortForward(ctx, f.sandbox, port, stream)
	if err != nil {
		return fmt.Errorf("failed to connect to localhost:%d inside namespace of pod %s: %w", port, name, err)
	}
	return nil
}
