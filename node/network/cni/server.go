package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clipper/node/network"
)

// A Network attaches namespaces that others have made.
type Network interface {
	network.Network
	// Adopt makes the network namespace at path that of the sandbox id, for Attach to attach.
	Adopt(id, path string) error
	Lookup(id string) (network.Attachment, bool)
	Gateway() netip.Addr
}

// A Server answers the plug-in.
type Server struct {
	socket  string
	network Network
	// held lists the sandboxes that the runtime holds, by their IDs there.
	held func(ctx context.Context) (map[string]bool, error)
}

// NewServer returns a server. It listens nowhere yet. held lists the sandboxes that the runtime holds.
func NewServer(socket string, n Network, held func(ctx context.Context) (map[string]bool, error)) *Server {
	return &Server{socket: socket, network: n, held: held}
}

// Run answers until ctx ends. What is attached stays.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.sweep(ctx) })
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("answer the CNI plug-in: %w", err)
		}
		group.Go(func() { s.serve(ctx, conn) })
	}
}

func (s *Server) listen() (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(s.socket), 0o755); err != nil {
		return nil, fmt.Errorf("listen for the CNI plug-in: %w", err)
	}
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for the CNI plug-in: %w", err)
	}
	listener, err := net.Listen("unix", s.socket)
	if err != nil {
		return nil, fmt.Errorf("listen for the CNI plug-in: %w", err)
	}
	if err := os.Chmod(s.socket, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// maxRequest bounds what a plug-in may say.
const maxRequest = 1 << 20

func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(askTime))
	var req request
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&req); err != nil {
		return
	}
	answer, err := s.answer(ctx, &req)
	if err != nil {
		answer = &response{Error: err.Error()}
	}
	_ = json.NewEncoder(conn).Encode(answer) // the plug-in may have given up
}

func (s *Server) answer(ctx context.Context, req *request) (*response, error) {
	switch req.Command {
	case "ADD":
		return s.add(ctx, req)
	case "DEL":
		return &response{}, s.network.Detach(ctx, req.ID)
	case "CHECK":
		if _, ok := s.network.Lookup(req.ID); !ok {
			return nil, fmt.Errorf("sandbox %s is not attached", req.ID)
		}
		return &response{}, nil
	case "STATUS":
		return &response{}, nil
	}
	return nil, fmt.Errorf("unknown command %q", req.Command)
}

func (s *Server) add(ctx context.Context, req *request) (*response, error) {
	if err := s.network.Adopt(req.ID, req.NetNS); err != nil {
		return nil, err
	}
	at, err := s.network.Attach(ctx, req.ID, podPorts(req.Ports))
	if err != nil {
		return nil, err
	}
	out := &response{Gateway: s.network.Gateway().String()}
	for _, ip := range at.IPs {
		out.IPs = append(out.IPs, netip.PrefixFrom(ip, ip.BitLen()).String())
	}
	return out, nil
}

func podPorts(list []portMapping) []network.PodPort {
	var out []network.PodPort
	for _, m := range list {
		if m.HostPort == 0 {
			continue
		}
		p := network.PodPort{HostPort: m.HostPort, ContainerPort: m.ContainerPort, Protocol: protocol(m.Protocol)}
		if ip, err := netip.ParseAddr(m.HostIP); err == nil && !ip.IsUnspecified() {
			p.HostIP = ip
		}
		out = append(out, p)
	}
	return out
}

func protocol(name string) string {
	switch name {
	case "udp", "UDP":
		return "UDP"
	case "sctp", "SCTP":
		return "SCTP"
	}
	return "TCP"
}

// inFlight is longer than a runtime takes to make a sandbox, which it lists only then.
const inFlight = 5 * time.Minute

// sweep detaches, once, what an earlier agent attached for a runtime that has lost it: a runtime that works says
// itself when a sandbox goes.
func (s *Server) sweep(ctx context.Context) {
	before, err := s.network.List(ctx)
	if err != nil || len(before) == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(inFlight):
	}
	held, err := s.held(ctx)
	if err != nil {
		return // the next agent tries again
	}
	for _, id := range before {
		if !held[id] {
			_ = s.network.Detach(ctx, id)
		}
	}
}
