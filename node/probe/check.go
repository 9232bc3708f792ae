package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxOutput bounds what a check keeps of a command's output or a response's body. Upstream's figure.
const maxOutput = 10 << 10

// A Target is the container a check is made against.
type Target struct {
	PodIP     string // where http, tcp and grpc checks go unless the probe names a host
	Container *corev1.Container
	// Exec runs a command in the container and returns its exit code and combined output.
	Exec func(ctx context.Context, command []string, limit int) (code int, output string, err error)
}

// Check makes one check. output explains a failure; err says that the check could not be made.
func Check(ctx context.Context, p *corev1.Probe, t Target) (r Result, output string, err error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	switch {
	case p.Exec != nil:
		return checkExec(ctx, p.Exec.Command, timeout, t)
	case p.HTTPGet != nil:
		req, err := NewRequest(ctx, p.HTTPGet, t, "probe")
		if err != nil {
			return Unknown, "", err
		}
		return checkHTTP(req, timeout)
	case p.TCPSocket != nil:
		port, err := Port(p.TCPSocket.Port, t.Container)
		if err != nil {
			return Unknown, "", err
		}
		host := p.TCPSocket.Host
		if host == "" {
			host = t.PodIP
		}
		return checkTCP(ctx, net.JoinHostPort(host, strconv.Itoa(port)), timeout)
	case p.GRPC != nil:
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return checkGRPC(ctx, net.JoinHostPort(t.PodIP, strconv.Itoa(int(p.GRPC.Port))), service, timeout)
	}
	return Unknown, "", fmt.Errorf("missing probe handler for container %s", t.Container.Name)
}

func checkExec(ctx context.Context, command []string, timeout time.Duration, t Target) (Result, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	code, out, err := t.Exec(ctx, command, maxOutput)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Failure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout), nil
	case err != nil:
		return Unknown, "", err
	case code != 0:
		return Failure, out, nil
	}
	return Success, out, nil
}

func checkTCP(ctx context.Context, addr string, timeout time.Duration) (Result, string, error) {
	c, err := dialer(timeout).DialContext(ctx, "tcp", addr)
	if err != nil {
		return Failure, err.Error(), nil
	}
	c.Close()
	return Success, "", nil
}

// dialer returns one whose connections leave little behind: a node makes thousands of checks a minute, and each
// closed connection would keep its port for a minute. One second, not none: a reset would cut off what is on its
// way.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1})
		})
	}}
}

// Port resolves a port number or the name of one of the container's ports.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	n := p.IntValue()
	if p.Type == intstr.String {
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				return int(cp.ContainerPort), nil
			}
		}
		var err error
		if n, err = strconv.Atoi(p.StrVal); err != nil {
			return 0, err
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", n)
	}
	return n, nil
}

// NewRequest builds the request of an HTTP check or hook. agent names the kind of caller in User-Agent.
func NewRequest(ctx context.Context, a *corev1.HTTPGetAction, t Target, agent string) (*http.Request, error) {
	port, err := Port(a.Port, t.Container)
	if err != nil {
		return nil, err
	}
	host := a.Host
	if host == "" {
		host = t.PodIP
	}
	scheme := strings.ToLower(string(a.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	u, err := url.Parse(a.Path)
	if err != nil { // anything goes in a path that does not parse as one
		u = &url.URL{Path: a.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range a.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	switch ua := req.Header.Values("User-Agent"); {
	case len(ua) == 0:
		req.Header.Set("User-Agent", "kube-"+agent+"/1.36")
	case len(ua) == 1 && ua[0] == "":
		req.Header["User-Agent"] = nil // an empty one was asked for
	}
	if _, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	} else if req.Header.Get("Accept") == "" {
		req.Header.Del("Accept")
	}
	if h := req.Header.Get("Host"); h != "" {
		req.Host = h
	}
	return req, nil
}

// Do sends a probe's or hook's request: no proxies, no keep-alive, certificates not checked (the kubelet
// cannot know the pod's authority), redirects within the host only.
func Do(req *http.Request, timeout time.Duration) (status int, body string, err error) {
	tr := &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext:        dialer(timeout).DialContext,
	}
	defer tr.CloseIdleConnections()
	cl := http.Client{Timeout: timeout, Transport: tr, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		switch {
		case next.URL.Hostname() != via[0].URL.Hostname():
			return http.ErrUseLastResponse
		case len(via) >= 10:
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
	resp, err := cl.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxOutput))
	return resp.StatusCode, string(b), err
}

func checkHTTP(req *http.Request, timeout time.Duration) (Result, string, error) {
	status, body, err := Do(req, timeout)
	switch {
	case err != nil:
		return Failure, err.Error(), nil
	case status >= 300 && status < 400:
		return Warning, "Probe terminated redirects, Response body: " + body, nil
	case status >= 200 && status < 300:
		return Success, body, nil
	}
	return Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", status), nil
}
