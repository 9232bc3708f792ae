package e2e

import (
	"strings"
	"testing"
	"time"
)

// apply makes what a manifest says.
func (u *user) apply(text string) {
	u.t.Helper()
	if r := u.feed(text, "apply", "-f", "-"); r.code != 0 {
		u.t.Fatalf("kubectl apply: %s", r.both())
	}
}

const separatedPod = `
apiVersion: v1
kind: ConfigMap
metadata: {name: given}
data: {key: value}
---
apiVersion: v1
kind: Pod
metadata: {name: separated}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 3000}
  volumes:
  - {name: given, configMap: {name: given}}
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  containers:
  - name: root
    image: busybox
    command: [sh, -c, "echo said >/dev/stdout; sleep 3600"]
    volumeMounts: [{name: given, mountPath: /given}, {name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
  - name: user
    image: busybox
    securityContext: {runAsUser: 1000}
    command: [sleep, "3600"]
    volumeMounts: [{name: disk, mountPath: /disk}]
`

// TestUserNamespace: who is root in the pod is nobody on the machine, and notices nothing of it.
func TestUserNamespace(t *testing.T) {
	u := newUser(t)
	u.apply(separatedPod)
	u.phase("separated", "Running")
	for _, tc := range []struct{ container, command, want string }{
		{"root", "id -u; cat /given/key; stat -c '%u %g' / /given/ /etc/hosts", "0\nvalue0 0\n0 3000\n0 0\n"},
		{"root", "touch /mine /disk/mine /memory/mine && stat -c '%u %g' /mine /disk/mine /memory/mine", "0 0\n0 3000\n0 3000\n"},
		{"root", "touch /given/more 2>&1 | grep -o 'Read-only file system'", "Read-only file system\n"},
		{"user", "touch /disk/yours && stat -c '%u %g' /disk/mine /disk/yours", "0 3000\n1000 3000\n"},
	} {
		if out := u.must("exec", "separated", "-c", tc.container, "--", "sh", "-c", tc.command); out != tc.want {
			t.Errorf("%s: %s: got %q, want %q", tc.container, tc.command, out, tc.want)
		}
	}
	mapped := strings.Fields(u.must("exec", "separated", "-c", "root", "--", "cat", "/proc/self/uid_map"))
	if len(mapped) != 3 || mapped[0] != "0" || mapped[1] == "0" || mapped[2] != "65536" {
		t.Errorf("users are mapped by %v", mapped)
	}
	if out := u.must("logs", "separated", "-c", "root"); out != "said\n" {
		t.Errorf("log is %q", out)
	}
	u.must("delete", "pod", "separated")
}

// TestRestartAllContainers: a rule restarts the whole pod in place. A variable comes from a file that an init
// container has written.
func TestRestartAllContainers(t *testing.T) {
	u := newUser(t)
	u.apply(`
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  volumes: [{name: d, emptyDir: {}}]
  initContainers:
  - name: first
    image: busybox
    command: [sh, -c, "date >>/d/runs; echo \"RUNS='$(wc -l </d/runs)'\" >/d/env"]
    volumeMounts: [{name: d, mountPath: /d}]
  containers:
  - name: a
    image: busybox
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    command: [sh, -c, "sleep 1; [ $RUNS -gt 2 ] && sleep 3600; exit 42"]
    env: [{name: RUNS, valueFrom: {fileKeyRef: {volumeName: d, path: env, key: RUNS}}}]
  - {name: b, image: busybox, command: [sleep, "3600"]}
`)
	const counts = "jsonpath={.status.initContainerStatuses[*].restartCount} {.status.containerStatuses[*].restartCount}"
	u.eventually(time.Minute, is("2 2 2"), "get", "pod", "again", "-o", counts)
	u.must("wait", "--for=condition=Ready", "pod/again", "--timeout=30s")
	if out := u.must("get", "pod", "again", "-o", "jsonpath={.status.containerStatuses[*].lastState.terminated.reason}"); out != "RestartingAllContainers RestartingAllContainers" {
		t.Errorf("containers ended before by %q", out)
	}
	u.must("delete", "pod", "again")
}

// TestResizeInPlace: a pod's own limits and a container's are changed; only who asks for it is restarted.
func TestResizeInPlace(t *testing.T) {
	u := newUser(t)
	u.apply(`
apiVersion: v1
kind: Pod
metadata: {name: grows}
spec:
  terminationGracePeriodSeconds: 1
  resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 400m, memory: 128Mi}}
  containers:
  - name: a
    image: busybox
    command: [sleep, "3600"]
    resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
  - {name: b, image: busybox, command: [sleep, "3600"]}
`)
	u.must("wait", "--for=condition=Ready", "pod/grows", "--timeout=60s")
	resize := func(patch, path, want string) {
		t.Helper()
		u.must("patch", "pod", "grows", "--subresource", "resize", "-p", patch)
		u.eventually(30*time.Second, is(want), "get", "pod", "grows", "-o", "jsonpath="+path)
	}
	const restarts = " {.status.containerStatuses[*].restartCount}"
	resize(`{"spec":{"resources":{"limits":{"cpu":"600m","memory":"256Mi"}}}}`,
		"{.status.resources.limits.cpu} {.status.resources.limits.memory}"+restarts, "600m 256Mi 0 0")
	resize(`{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"300m"}}}]}}`,
		"{.status.containerStatuses[0].resources.limits.cpu}"+restarts, "300m 0 0")
	resize(`{"spec":{"containers":[{"name":"a","resources":{"limits":{"memory":"96Mi"}}}]}}`,
		"{.status.containerStatuses[0].resources.limits.memory}"+restarts, "96Mi 1 0")
	u.eventually(10*time.Second, says(`Pod resize completed: {"containers":[{"name":"a"`), "get", "events", "--field-selector", "reason=ResizeCompleted")
	u.must("delete", "pod", "grows")
}

// TestDebugBeforeInit: kubectl debug sees the processes of an init container that hangs.
func TestDebugBeforeInit(t *testing.T) {
	u := newUser(t)
	u.apply(`
apiVersion: v1
kind: Pod
metadata: {name: hangs}
spec:
  terminationGracePeriodSeconds: 1
  initContainers: [{name: stuck, image: busybox, command: [sleep, "12345"]}]
  containers: [{name: a, image: busybox, command: [sleep, "3600"]}]
`)
	u.eventually(time.Minute, says("running"), "get", "pod", "hangs", "-o", "jsonpath={.status.initContainerStatuses[0].state}")
	u.must("debug", "hangs", "--image=busybox", "--target=stuck", "-c", "look", "--", "ps")
	u.eventually(30*time.Second, says("sleep 12345"), "logs", "hangs", "-c", "look")
	u.must("delete", "pod", "hangs")
}
