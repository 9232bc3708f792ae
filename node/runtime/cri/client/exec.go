package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// Exec runs a process in a container and returns its exit code when it ends.
func (r *Runtime) Exec(ctx context.Context, id string, e runtime.Exec) (int, error) {
	if e.Short {
		return r.execShort(ctx, id, e)
	}
	resp, err := r.service.Exec(ctx, &runtimeapi.ExecRequest{
		ContainerId: id, Cmd: e.Command, Tty: e.TTY, Stdin: e.Stdin != nil, Stdout: e.Stdout != nil, Stderr: e.Stderr != nil && !e.TTY,
	})
	if err != nil {
		return 0, plain(err)
	}
	err = stream(ctx, resp.Url, e)
	if exit := (utilexec.CodeExitError{}); errors.As(err, &exit) {
		return exit.Code, nil
	}
	return 0, err
}

// execShort has the runtime collect the output, and kill what is not done when ctx ends.
func (r *Runtime) execShort(ctx context.Context, id string, e runtime.Exec) (int, error) {
	req := &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: e.Command}
	if deadline, ok := ctx.Deadline(); ok {
		req.Timeout = max(int64((time.Until(deadline)+time.Second-1)/time.Second), 1)
	}
	resp, err := r.service.ExecSync(ctx, req)
	if err != nil {
		return 0, plain(err)
	}
	for _, out := range []struct {
		to      io.Writer
		content []byte
	}{{e.Stdout, resp.Stdout}, {e.Stderr, resp.Stderr}} {
		if out.to != nil {
			if _, err := out.to.Write(out.content); err != nil {
				return int(resp.ExitCode), err
			}
		}
	}
	return int(resp.ExitCode), nil
}

// Attach joins the container's own stdio until it or ctx ends.
func (r *Runtime) Attach(ctx context.Context, id string, e runtime.Exec) error {
	resp, err := r.service.Attach(ctx, &runtimeapi.AttachRequest{
		ContainerId: id, Tty: e.TTY, Stdin: e.Stdin != nil, Stdout: e.Stdout != nil, Stderr: e.Stderr != nil && !e.TTY,
	})
	if err != nil {
		return plain(err)
	}
	return stream(ctx, resp.Url, e)
}

// stream connects e to the streams at an address of the runtime's.
func stream(ctx context.Context, address string, e runtime.Exec) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the runtime's address for streams: %w", err)
	}
	exec, err := remotecommand.NewSPDYExecutor(streamClient(u), http.MethodPost, u)
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Stdin: e.Stdin, Stdout: e.Stdout, Tty: e.TTY}
	if !e.TTY {
		options.Stderr = e.Stderr
	}
	if e.Resize != nil {
		options.TerminalSizeQueue = sizes{ctx, e.Resize}
	}
	return exec.StreamWithContext(ctx, options)
}

// streamClient is how a runtime's stream server is reached: on this machine, with a certificate of its own making
// if it has one. The address carries a secret.
func streamClient(u *url.URL) *rest.Config {
	return &rest.Config{Host: u.Scheme + "://" + u.Host, TLSClientConfig: rest.TLSClientConfig{Insecure: u.Scheme == "https"}}
}

// sizes tells terminal sizes as the library wants them.
type sizes struct {
	ctx context.Context
	in  <-chan runtime.Size
}

// Next implements remotecommand.TerminalSizeQueue.
func (s sizes) Next() *remotecommand.TerminalSize {
	select {
	case size, ok := <-s.in:
		if ok {
			return &remotecommand.TerminalSize{Width: size.Width, Height: size.Height}
		}
	case <-s.ctx.Done():
	}
	return nil
}

// portForwardProtocol is the one that runtimes speak.
const portForwardProtocol = "portforward.k8s.io"

// PortForward connects stream to a port of the sandbox.
func (r *Runtime) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	remote, err := r.remote(ctx, id)
	if err != nil {
		return err
	}
	resp, err := r.service.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: remote, Port: []int32{port}})
	if err != nil {
		return plain(err)
	}
	u, err := url.Parse(resp.Url)
	if err != nil {
		return fmt.Errorf("the runtime's address for streams: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(streamClient(u))
	if err != nil {
		return err
	}
	conn, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u).Dial(portForwardProtocol)
	if err != nil {
		return fmt.Errorf("connect to the runtime's streams: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	return forward(conn, port, stream)
}

// forward moves bytes between stream and a port, until the port's side ends.
func forward(conn httpstream.Connection, port int32, stream io.ReadWriteCloser) error {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := conn.CreateStream(headers)
	if err != nil {
		return fmt.Errorf("open the stream of errors: %w", err)
	}
	_ = failure.Close() // we write nothing there
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return fmt.Errorf("open the stream of data: %w", err)
	}
	go func() { // ends with stream, which the caller closes, or with conn
		_, _ = io.Copy(data, stream)
		_ = data.Close()
	}()
	_, copyErr := io.Copy(stream, data)
	_ = stream.Close()
	message, err := io.ReadAll(io.LimitReader(failure, 64<<10))
	if len(message) > 0 {
		return errors.New(string(message))
	}
	return errors.Join(copyErr, err)
}
