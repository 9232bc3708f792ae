package server

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/image"
	"clipper/node/runtime"
	"clipper/node/userns"
)

func TestSecurity(t *testing.T) {
	id := func(n int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: n} }
	localhost := func(ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
	}
	for name, c := range map[string]struct {
		in   *runtimeapi.LinuxContainerSecurityContext
		want runtime.Security
		code codes.Code
	}{
		"nothing": {nil, runtime.Security{Paths: &runtime.GuardedPaths{}}, codes.OK},
		"empty":   {&runtimeapi.LinuxContainerSecurityContext{}, runtime.Security{Paths: &runtime.GuardedPaths{}, Seccomp: "Unconfined"}, codes.OK},
		"profiles": {&runtimeapi.LinuxContainerSecurityContext{Seccomp: localhost("localhost//p.json"), Apparmor: localhost("mine"), MaskedPaths: []string{"/a"}, ReadonlyPaths: []string{"/b"}},
			runtime.Security{Paths: &runtime.GuardedPaths{Masked: []string{"/a"}, ReadOnly: []string{"/b"}}, Seccomp: "/p.json", AppArmor: "mine"}, codes.OK},
		"old names": {&runtimeapi.LinuxContainerSecurityContext{SeccompProfilePath: "runtime/default", ApparmorProfile: "localhost/x"}, //nolint:staticcheck // what old clients send
			runtime.Security{Paths: &runtime.GuardedPaths{}, Seccomp: "RuntimeDefault", AppArmor: "localhost/x"}, codes.OK},
		"relative profile":   {&runtimeapi.LinuxContainerSecurityContext{Seccomp: localhost("p.json")}, runtime.Security{}, codes.InvalidArgument},
		"group without user": {&runtimeapi.LinuxContainerSecurityContext{RunAsGroup: id(5)}, runtime.Security{}, codes.InvalidArgument},
	} {
		got, err := security(c.in)
		if status.Code(err) != c.code || c.code == codes.OK && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestMounts(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "a", "b")
	got, err := mounts([]*runtimeapi.Mount{
		{HostPath: missing, ContainerPath: "/x", Readonly: true, Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL},
	})
	want := []runtime.Mount{{Host: missing, Container: "/x", ReadOnly: true, Propagation: "Bidirectional"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := os.Stat(missing); err != nil {
		t.Error("the directory was not made: ", err)
	}
	for _, m := range []*runtimeapi.Mount{
		{HostPath: missing, RecursiveReadOnly: true},
		{HostPath: missing, RecursiveReadOnly: true, Readonly: true, Propagation: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER},
	} {
		if _, err := mounts([]*runtimeapi.Mount{m}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", m, err)
		}
	}
}

func TestMatch(t *testing.T) {
	all := []string{"abc", "abd", "x"}
	for id, want := range map[string]string{"x": "x", "abc": "abc", "abd": "abd"} {
		if got, err := match("container", id, all, func(s *string) string { return *s }); got != want || err != nil {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	for id, want := range map[string]codes.Code{"": codes.InvalidArgument, "ab": codes.Unknown, "q": codes.NotFound} {
		if _, err := match("container", id, all, func(s *string) string { return *s }); status.Code(coded(err)) != want {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestStagesAreToldInOrder(t *testing.T) {
	told := stages{"old": started}
	for _, c := range []struct {
		id   string
		now  stage
		want []stage
	}{
		{"old", started, nil},
		{"new", stopped, []stage{created, started, stopped}}, // merged meanwhile
		{"new", stopped, nil},
		{"new", deleted, []stage{deleted}},
		{"old", stopped, []stage{stopped}},
	} {
		if got := told.advance(runtime.Event{ContainerID: c.id}, c.now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s at %d: told %v, want %v", c.id, c.now, got, c.want)
		}
	}
	if _, left := told["new"]; left {
		t.Error("what is gone is remembered")
	}
}

func TestCredentials(t *testing.T) {
	got, err := credentials(&runtimeapi.AuthConfig{Auth: "dXNlcjpwYTpzcw=="})
	if err != nil || got.Username != "user" || got.Password != "pa:ss" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"%", "dXNlcg=="} {
		if _, err := credentials(&runtimeapi.AuthConfig{Auth: bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add("dXNlcjpwYTpzcw==", "")
	f.Fuzz(func(t *testing.T, auth, user string) {
		_, _ = credentials(&runtimeapi.AuthConfig{Auth: auth, Username: user})
	})
}

func TestResolver(t *testing.T) {
	got := resolver(&runtimeapi.DNSConfig{Servers: []string{"1.1.1.1"}, Searches: []string{"a", "b"}, Options: []string{"ndots:5"}})
	if want := "search a b\nnameserver 1.1.1.1\noptions ndots:5\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUserNamespace(t *testing.T) {
	ids := func(container, host, length uint32) []*runtimeapi.IDMapping {
		return []*runtimeapi.IDMapping{{ContainerId: container, HostId: host, Length: length}}
	}
	pod := runtimeapi.NamespaceMode_POD
	for name, c := range map[string]struct {
		in   *runtimeapi.NamespaceOption
		want *userns.IDs
		code codes.Code
	}{
		"none":       {nil, nil, codes.OK},
		"the host's": {&runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}}, nil, codes.OK},
		"a range": {&runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: pod, Uids: ids(0, 65536, 100), Gids: ids(0, 65536, 100)}},
			&userns.IDs{Host: 65536, Length: 100}, codes.OK},
		"no range":  {&runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: pod}}, nil, codes.InvalidArgument},
		"different": {&runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: pod, Uids: ids(0, 1, 2), Gids: ids(0, 2, 2)}}, nil, codes.InvalidArgument},
		"host network": {&runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, UsernsOptions: &runtimeapi.UserNamespace{Mode: pod, Uids: ids(0, 1, 2), Gids: ids(0, 1, 2)}},
			nil, codes.InvalidArgument},
		"a container's": {&runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_CONTAINER}}, nil, codes.InvalidArgument},
	} {
		got, err := userNamespace(c.in)
		if status.Code(err) != c.code || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestStopSignal(t *testing.T) {
	s := New(Options{Dir: t.TempDir(), Images: noImages{}})
	for sig, want := range map[runtimeapi.Signal]string{
		runtimeapi.Signal_RUNTIME_DEFAULT: "", runtimeapi.Signal_SIGUSR1: "SIGUSR1",
		runtimeapi.Signal_SIGRTMINPLUS3: "SIGRTMIN+3", runtimeapi.Signal_SIGRTMAXMINUS2: "SIGRTMAX-2",
	} {
		c := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, StopSignal: sig}
		if got, err := s.containerSpec("sandbox", c, nil); err != nil || got.StopSignal != want {
			t.Errorf("%v: %q, %v", sig, got.StopSignal, err)
		}
	}
}

// noImages is a store that is not asked.
type noImages struct{ Images }

func (noImages) Usage(context.Context) (image.Usage, error) { return image.Usage{}, nil }
