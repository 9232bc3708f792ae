package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"clipper/node/network"
)

// TestMain makes the test's own binary the plug-in when it is called so, as the program itself does.
func TestMain(m *testing.M) {
	if IsPlugin(os.Args[0]) {
		Main(os.Args[0])
		return
	}
	os.Exit(m.Run())
}

// fakeNetwork remembers what is attached.
type fakeNetwork struct {
	mu       sync.Mutex
	adopted  map[string]string
	attached map[string][]network.PodPort
}

func (n *fakeNetwork) Adopt(id, path string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if path == "/none" {
		return errors.New("there is none at /none")
	}
	n.adopted[id] = path
	return nil
}

func (n *fakeNetwork) Attach(_ context.Context, id string, ports []network.PodPort) (network.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attached[id] = ports
	return network.Attachment{IPs: []netip.Addr{netip.MustParseAddr("10.42.0.9")}}, nil
}

func (n *fakeNetwork) Detach(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, id)
	return nil
}

func (n *fakeNetwork) List(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for id := range n.attached {
		out = append(out, id)
	}
	return out, nil
}

func (n *fakeNetwork) Lookup(id string) (network.Attachment, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.attached[id]
	return network.Attachment{}, ok
}

func (n *fakeNetwork) Gateway() netip.Addr { return netip.MustParseAddr("10.42.0.1") }

func newFake() *fakeNetwork {
	return &fakeNetwork{adopted: map[string]string{}, attached: map[string][]network.PodPort{}}
}

// plugin runs the installed plug-in as a runtime does.
func plugin(t *testing.T, dir, command, netns, runtimeConfig string) (output string, failed bool) {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(dir, "net.d", "10-clipper.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	var conf struct {
		CNIVersion, Name string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal(list, &conf); err != nil {
		t.Fatal(err)
	}
	config := conf.Plugins[0]
	config["cniVersion"], config["name"] = conf.CNIVersion, conf.Name
	if runtimeConfig != "" {
		config["runtimeConfig"] = json.RawMessage(runtimeConfig)
	}
	stdin, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "bin", config["type"].(string)))
	cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=abc", "CNI_NETNS=" + netns, "CNI_IFNAME=eth0", "CNI_PATH=" + dir, "CNI_NETNS_OVERRIDE=1"}
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	return string(out), err != nil
}

func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "cni.sock")
	for range 2 { // again without harm
		if err := Install(dir, socket); err != nil {
			t.Fatal(err)
		}
	}
	if out, failed := plugin(t, dir, "ADD", "/proc/self/ns/net", ""); !failed || !strings.Contains(out, `"code": 11`) {
		t.Errorf("without an agent: %s", out)
	}
	n := newFake()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(socket, n, nil).Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not listen")
		}
	}
	ports := `{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"udp","hostIP":"127.0.0.1"},{"hostPort":0,"containerPort":1}]}`
	out, failed := plugin(t, dir, "ADD", "/proc/self/ns/net", ports)
	if failed || !strings.Contains(out, `"address": "10.42.0.9/32"`) || !strings.Contains(out, `"gw": "10.42.0.1"`) || !strings.Contains(out, `"sandbox": "/proc/self/ns/net"`) {
		t.Errorf("ADD: %s", out)
	}
	want := []network.PodPort{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80, Protocol: "UDP"}}
	n.mu.Lock()
	if n.adopted["abc"] != "/proc/self/ns/net" || !slices.Equal(n.attached["abc"], want) {
		t.Errorf("%+v, %+v", n.adopted, n.attached)
	}
	n.mu.Unlock()
	for range 2 {
		if out, failed := plugin(t, dir, "DEL", "", ""); failed {
			t.Errorf("DEL: %s", out)
		}
	}
	if ids, _ := n.List(ctx); len(ids) != 0 {
		t.Errorf("left: %v", ids)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnswer(t *testing.T) {
	s := NewServer("", newFake(), nil)
	for _, c := range []struct {
		req  request
		want string
	}{
		{request{Command: "CHECK", ID: "abc"}, "sandbox abc is not attached"},
		{request{Command: "ADD", ID: "abc", NetNS: "/none"}, "there is none at /none"},
		{request{Command: "STATUS"}, ""},
		{request{Command: "DEL", ID: "abc"}, ""},
		{request{Command: "GC"}, `unknown command "GC"`},
	} {
		_, err := s.answer(t.Context(), &c.req)
		if got := errorText(err); got != c.want {
			t.Errorf("%+v: %q, want %q", c.req, got, c.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestSweep: what the runtime holds stays, and so does what was attached after the start.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake()
		n.attached["held"], n.attached["lost"] = nil, nil
		s := NewServer("", n, func(context.Context) (map[string]bool, error) { return map[string]bool{"held": true}, nil })
		go s.sweep(t.Context())
		synctest.Wait()
		_, _ = n.Attach(t.Context(), "young", nil)
		time.Sleep(inFlight + time.Second)
		ids, _ := n.List(t.Context())
		slices.Sort(ids)
		if !slices.Equal(ids, []string{"held", "young"}) {
			t.Errorf("%v", ids)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"clipper-cni","socket":"/x","runtimeConfig":{"portMappings":[{"hostPort":1,"protocol":"tcp"}]}}`))
	f.Add([]byte(`{"socket":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse(data)
		if err == nil && c.Socket == "" {
			t.Error("a configuration without a socket was taken")
		}
		if err == nil {
			podPorts(c.Runtime.PortMappings)
		}
	})
}
