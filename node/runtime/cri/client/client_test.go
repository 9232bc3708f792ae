package client

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/network"
	"clipper/node/runtime"
)

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		code codes.Code
		text string
		is   error
	}{
		{codes.Unknown, "no such thing", nil},
		{codes.NotFound, "rpc error: code = NotFound desc = no such thing", runtime.ErrNotFound},
		{codes.DeadlineExceeded, "rpc error: code = DeadlineExceeded desc = no such thing", context.DeadlineExceeded},
		{codes.Internal, "rpc error: code = Internal desc = no such thing", nil},
	} {
		err := plain(status.Error(c.code, "no such thing"))
		if err.Error() != c.text || c.is != nil && !errors.Is(err, c.is) || c.is == nil && errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("%v: %v", c.code, err)
		}
	}
	if plain(nil) != nil || gone(status.Error(codes.NotFound, "")) != nil {
		t.Error("no error became one")
	}
}

func TestEndpoint(t *testing.T) {
	for _, bad := range []string{"", "tcp://1.2.3.4:5", "run/x.sock", "unix://relative"} {
		if _, err := dial(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSandboxIsKnownAgain(t *testing.T) {
	asked := runtime.Sandbox{
		ID: "uid-1", PodUID: "uid", Namespace: "ns", Pod: "web", Attempt: 1, Hostname: "web", LogDir: "/logs", SharedPID: true, HostIPC: true,
		CgroupParent: "/pods/poduid", Resources: runtime.Resources{CPUShares: 7}, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
		Sysctls: map[string]string{"e": "f"}, Ports: []network.PodPort{{HostPort: 80, ContainerPort: 8080, Protocol: "SCTP"}},
	}
	config, err := sandboxConfig(&asked)
	if err != nil {
		t.Fatal(err)
	}
	if p := config.PortMappings[0]; p.Protocol != runtimeapi.Protocol_SCTP || p.HostPort != 80 || asked.Labels[idLabel] != "" {
		t.Errorf("%+v, labels %v", p, asked.Labels)
	}
	r := &Runtime{ids: newIdentities()} // a new agent
	if spec := r.note("remote", config.Annotations, config.Labels); spec == nil || spec.ID != "uid-1" {
		t.Fatalf("%+v", spec)
	}
	k, ok := r.ids.sandbox("remote")
	if !ok || k.id != "uid-1" || !reflect.DeepEqual(k.config, config) {
		t.Errorf("%+v\nwant %+v", k.config, config)
	}
	if r.note("other", map[string]string{}, map[string]string{"io.kubernetes.pod.uid": "x"}) != nil {
		t.Error("somebody else's sandbox was taken for ours")
	}
}

func TestContainerConfig(t *testing.T) {
	sandbox, err := sandboxConfig(&runtime.Sandbox{LogDir: "/logs/pod", SharedPID: true})
	if err != nil {
		t.Fatal(err)
	}
	user, swap := int64(5), int64(100)
	c := runtime.Container{
		Name: "c", Image: "busybox", Env: []string{"A=b=c"}, LogPath: "/logs/pod/c/0.log", StopSignal: "SIGRTMIN+3", PID: runtime.TargetPID, TargetID: "t",
		Mounts:    []runtime.Mount{{Host: "/h", Container: "/c", Propagation: "HostToContainer"}},
		Resources: runtime.Resources{MemoryLimit: 1000, SwapLimit: &swap},
		Security:  runtime.Security{User: &user, Seccomp: "/p.json", AppArmor: "localhost/x", SupplementalStrict: true},
	}
	got, err := containerConfig(&c, "sha256:1", sandbox)
	if err != nil {
		t.Fatal(err)
	}
	sec := got.Linux.SecurityContext
	if got.LogPath != "c/0.log" || string(got.Envs[0].Value) != "b=c" || got.StopSignal != runtimeapi.Signal_SIGRTMINPLUS3 || got.Image.Image != "sha256:1" ||
		got.Mounts[0].Propagation != runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER || got.Linux.Resources.MemorySwapLimitInBytes != 1100 ||
		sec.RunAsUser.Value != 5 || sec.Seccomp.LocalhostRef != "/p.json" || sec.Apparmor.LocalhostRef != "x" || sec.NamespaceOptions.TargetId != "t" ||
		sec.SupplementalGroupsPolicy != runtimeapi.SupplementalGroupsPolicy_Strict || len(sec.MaskedPaths) == 0 || sandbox.Linux.SecurityContext.NamespaceOptions.Pid != runtimeapi.NamespaceMode_POD {
		t.Errorf("%+v", got)
	}
	c.Security.Privileged = true
	if got, _ = containerConfig(&c, "", sandbox); len(got.Linux.SecurityContext.MaskedPaths) != 0 {
		t.Error("paths are masked in a privileged container")
	}
	c.LogPath = "/elsewhere/0.log"
	if _, err := containerConfig(&c, "", sandbox); err == nil {
		t.Error("a log file outside of the pod's directory was taken")
	}
}

func TestSnapshots(t *testing.T) {
	run := runtime.Event{ContainerID: "a", State: runtime.Running}
	end := runtime.Event{ContainerID: "a", State: runtime.Exited}
	for name, c := range map[string]struct {
		before, now snapshot
		want        []runtime.Event
	}{
		"the first":  {nil, snapshot{"a": run}, nil},
		"same":       {snapshot{"a": run}, snapshot{"a": run}, nil},
		"new":        {snapshot{}, snapshot{"a": run}, []runtime.Event{run}},
		"ended":      {snapshot{"a": run}, snapshot{"a": end}, []runtime.Event{end}},
		"has gone":   {snapshot{"a": run}, snapshot{}, []runtime.Event{end}},
		"both empty": {snapshot{}, snapshot{}, nil},
	} {
		if got := c.now.since(c.before); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	if !at(0).IsZero() || !at(-6795364578871345152).IsZero() || !at(5).Equal(time.Unix(0, 5)) {
		t.Error("a time that was never is one")
	}
}

func TestNobodyThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, "unix://"+t.TempDir()+"/none.sock", "")
	if err == nil || !strings.Contains(err.Error(), "it does not answer") || !strings.Contains(err.Error(), "--container-runtime-endpoint") {
		t.Errorf("%v", err)
	}
}
