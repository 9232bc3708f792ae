package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests of this file are the rows of ../manifests/INDEX.md, one by one. They run in the namespace of
// the test; a manifest that names its own keeps it.

func manifest(name string) string { return filepath.Join("..", "manifests", name) }

func TestPodNginx001(t *testing.T) {
	u := newUser(t)
	if out := u.must("create", "-f", manifest("pod-nginx-001.yaml")); out != "pod/nginx-pod created\n" {
		t.Errorf("kubectl create printed %q", out)
	}
	out := u.eventually(time.Minute, says("1/1"), "get", "pods")
	lines := strings.Split(out, "\n")
	if got := strings.Fields(lines[0]); strings.Join(got, " ") != "NAME READY STATUS RESTARTS AGE" {
		t.Errorf("columns are %q", lines[0])
	}
	if got := strings.Fields(lines[1]); len(got) < 4 || strings.Join(got[:4], " ") != "nginx-pod 1/1 Running 0" {
		t.Errorf("row is %q", lines[1])
	}
}

// TestPodNginx001AsPrinted is the slide before its indentation was mended: image and ports beside containers.
func TestPodNginx001AsPrinted(t *testing.T) {
	u := newUser(t)
	printed := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: nginx-pod\nspec:\n  containers:\n  - name: nginx\n  image: nginx:latest\n  ports:\n  - containerPort: 80\n"
	r := u.feed(printed, "create", "-f", "-")
	if r.code == 0 || !strings.Contains(r.err, `unknown field "spec.image"`) || !strings.Contains(r.err, `unknown field "spec.ports"`) {
		t.Errorf("exit code %d, %q", r.code, r.both())
	}
}

func TestPodNginx002AndLabels(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-nginx-002.yaml"))
	u.phase("nginx", "Running")
	before := u.must("get", "pod", "nginx", "-o", "jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount}")
	if out := u.must("apply", "-f", manifest("pod-nginx-labels.json")); out != "pod/nginx configured\n" {
		t.Errorf("apply of the labels printed %q", out)
	}
	after := u.must("get", "pod", "nginx", "-o", "jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount}")
	if before != after {
		t.Errorf("uid and restarts went from %q to %q", before, after)
	}
	if out := u.must("get", "pods", "-l", "app=nginx", "-o", "name"); out != "pod/nginx\n" {
		t.Errorf("by label: %q", out)
	}
}

func TestPodNginxLabelsByRawPost(t *testing.T) {
	u := newUser(t)
	out := u.must("create", "--raw", "/api/v1/namespaces/"+u.namespace+"/pods", "-f", manifest("pod-nginx-labels.json"))
	if !strings.Contains(out, `"uid"`) {
		t.Errorf("raw POST answered %q", out)
	}
	u.phase("nginx", "Running")
}

func TestPodFlask(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-flask.yaml"))
	u.phase("flask-pod", "Running")
	ip := u.must("get", "pod", "flask-pod", "-o", "jsonpath={.status.podIP}")
	u.answers("http://"+ip+":5000/", "Hello") // Running is not yet listening
}

func TestImageThatCannotBePulled(t *testing.T) {
	u := newUser(t)
	u.must("run", "gone", "--image=registry.invalid/no/such:1")
	u.eventually(time.Minute, func(out string) bool { return out == "ErrImagePull" || out == "ImagePullBackOff" },
		"get", "pod", "gone", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
	u.eventually(time.Minute, says(`Failed to pull image "registry.invalid/no/such:1"`), "get", "events")
}

func TestServiceExample(t *testing.T) {
	u := newUser(t)
	u.must("create", "-f", manifest("service-example.json"))
	ip := u.must("get", "service", "example-service", "-o", "jsonpath={.spec.clusterIP}")
	port := u.must("get", "service", "example-service", "-o", "jsonpath={.spec.ports[0].nodePort}")
	if ip == "" || port == "" {
		t.Fatalf("clusterIP %q, nodePort %q", ip, port)
	}
	// Without pods the connection is refused at once, not left hanging.
	if r := u.inside("curl", "-s", "--max-time", "5", "http://"+ip+":8765/"); r.code != 7 {
		t.Errorf("without endpoints: curl's exit code %d, want 7 (refused)", r.code)
	}
	u.must("run", "example", "--image=busybox:1.36", "--labels=app=example", "--", "/bin/sh", "-c",
		"mkdir /www; echo served >/www/index.html; exec busybox httpd -f -p 9376 -h /www")
	u.phase("example", "Running")
	u.eventually(10*time.Second, says(":9376"), "get", "endpoints", "example-service", "-o", "wide")
	u.answers("http://"+ip+":8765/", "served")
	node := u.must("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	u.answers("http://"+node+":"+port+"/", "served")
}

func TestServiceExampleAsPrinted(t *testing.T) {
	u := newUser(t)
	data, err := os.ReadFile(manifest("service-example.json"))
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.TrimRight(string(data), "}\n \t")
	r := u.feed(cut, "create", "-f", "-")
	if r.code == 0 || !strings.Contains(r.err, "error") {
		t.Errorf("exit code %d, %q", r.code, r.both())
	}
	if out := u.must("get", "services", "-o", "name"); out != "" {
		t.Errorf("created after all: %q", out)
	}
}

func TestPodRedisEmptyDir(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-redis-emptydir.yaml"))
	u.phase("redis", "Running")
	u.must("exec", "redis", "--", "sh", "-c", "echo kept >/data/redis/file")
	u.try("exec", "redis", "--", "sh", "-c", "kill 1")
	u.eventually(time.Minute, is("1 true"), "get", "pod", "redis", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
	if out := u.must("exec", "redis", "--", "cat", "/data/redis/file"); out != "kept\n" {
		t.Errorf("after a restart the file says %q", out)
	}
	u.must("delete", "pod", "redis", "--grace-period=1")
	u.must("apply", "-f", manifest("pod-redis-emptydir.yaml"))
	u.phase("redis", "Running")
	if r := u.try("exec", "redis", "--", "cat", "/data/redis/file"); r.code == 0 {
		t.Error("the file outlived its pod")
	}
}

// TestRemovedGroups: extensions/v1beta1 is not in discovery, and a raw request names the successor.
func TestRemovedGroups(t *testing.T) {
	u := newUser(t)
	for _, name := range []string{"networkpolicy-v1beta1.yaml", "ingress-traefik-1-v1beta1.yaml", "ingress-traefik-2-v1beta1.yaml", "ingress-default-backend-v1beta1.yaml", "ingress-fanout-v1beta1.yaml"} {
		u.refused([]string{"no matches for kind", "extensions/v1beta1", "ensure CRDs are installed first"}, "apply", "-f", manifest(name))
	}
	u.refused([]string{"networking.k8s.io/v1"}, "get", "--raw", "/apis/extensions/v1beta1/ingresses")
}

func TestStorageClassAwsEbs(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("storageclass-aws-ebs.yaml"))
	t.Cleanup(func() { u.try("delete", "storageclass", "standard") })
	out := u.must("get", "sc", "standard", "--no-headers")
	if f := strings.Fields(out); len(f) < 4 || f[1] != "kubernetes.io/aws-ebs" || f[2] != "Retain" || f[3] != "Immediate" {
		t.Errorf("kubectl get sc printed %q", out)
	}
	r := u.feed("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nspec:\n  storageClassName: standard\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Gi}}\n", "apply", "-f", "-")
	if r.code != 0 {
		t.Fatal(r.both())
	}
	u.eventually(30*time.Second, says("ebs.csi.aws.com"), "get", "events", "--field-selector", "reason=ExternalProvisioning")
	if out := u.must("get", "pvc", "c", "-o", "jsonpath={.status.phase}"); out != "Pending" {
		t.Errorf("the claim is %s", out)
	}
}

func TestPodEbs(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-ebs.yaml"))
	// Its driver's attacher has two minutes to answer, as upstream.
	out := u.eventually(3*time.Minute, says("ebs.csi.aws.com"), "get", "events", "--field-selector", "reason=FailedAttachVolume")
	if !strings.Contains(out, "<volume-id>") { // by the name of the volume that it was translated to, as upstream
		t.Errorf("the event does not name the volume: %s", out)
	}
	if out := u.must("get", "pod", "test-ebs", "--no-headers"); !strings.Contains(out, "ContainerCreating") {
		t.Errorf("kubectl get printed %q", out)
	}
}

func TestPersistentVolumeAndClaim(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-pvc-mypod.yaml"))
	u.eventually(30*time.Second, says(`persistentvolumeclaim "myclaim" not found`), "get", "events", "--field-selector", "reason=FailedScheduling")
	u.must("apply", "-f", manifest("pv-task-hostpath.yaml"))
	t.Cleanup(func() { u.try("delete", "pv", "task-pv-volume", "--wait=false") })
	u.eventually(10*time.Second, says("Available"), "get", "pv", "task-pv-volume")
	out := u.must("get", "pv", "task-pv-volume", "--no-headers")
	if f := strings.Fields(out); len(f) < 6 || f[1] != "10Gi" || f[2] != "RWO" || f[3] != "Retain" {
		t.Errorf("kubectl get pv printed %q", out)
	}
	r := u.feed("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: myclaim}\nspec:\n  storageClassName: manual\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 3Gi}}\n", "apply", "-f", "-")
	if r.code != 0 {
		t.Fatal(r.both())
	}
	u.eventually(10*time.Second, is("Bound"), "get", "pvc", "myclaim", "-o", "jsonpath={.status.phase}")
	u.phase("mypod", "Running")
	// The other pod of that name cannot be applied over it.
	u.refused([]string{"pod updates may not change fields other than"}, "apply", "-f", manifest("pod-secret-file.yaml"))
}

func TestSecretAndItsPods(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-secret-env.yaml"))
	u.eventually(time.Minute, is("CreateContainerConfigError"), "get", "pod", "secret-env-pod", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
	if out := u.must("get", "pod", "secret-env-pod", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}"); !strings.Contains(out, "mysecret") {
		t.Errorf("the reason does not name the secret: %q", out)
	}
	u.must("apply", "-f", manifest("secret-mysecret.yaml"))
	if out := u.must("get", "secret", "mysecret", "--no-headers"); !strings.Contains(out, "Opaque") || strings.Fields(out)[2] != "2" {
		t.Errorf("kubectl get secret printed %q", out)
	}
	if out := u.must("describe", "secret", "mysecret"); strings.Contains(out, "admin") || !strings.Contains(out, "username:  5 bytes") {
		t.Errorf("kubectl describe secret printed %q", out)
	}
	u.phase("secret-env-pod", "Running") // by itself, once the secret is there
	env := u.must("exec", "secret-env-pod", "--", "env")
	for _, want := range []string{"SECRET_USERNAME=admin\n", "SECRET_PASSWORD=1f2d1e2e67df\n"} {
		if !strings.Contains(env, want) {
			t.Errorf("environment lacks %q", want)
		}
	}
	u.must("apply", "-f", manifest("pod-secret-file.yaml"))
	u.phase("mypod", "Running")
	if out := u.must("exec", "mypod", "--", "sh", "-c", "cat /etc/foo/username; echo; cat /etc/foo/password"); out != "admin\n1f2d1e2e67df" {
		t.Errorf("files say %q", out)
	}
	if r := u.try("exec", "mypod", "--", "sh", "-c", "echo x >/etc/foo/username"); r.code == 0 {
		t.Error("the secret's file could be written")
	}
	if out := u.must("exec", "mypod", "--", "sh", "-c", "grep ' /etc/foo ' /proc/mounts"); !strings.Contains(out, "tmpfs") {
		t.Errorf("not in memory: %q", out)
	}
}

func TestConfigMapGame(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-n", "default", "-f", manifest("configmap-game.yaml"))
	t.Cleanup(func() { u.try("delete", "-n", "default", "-f", manifest("configmap-game.yaml")) })
	if f := strings.Fields(u.must("get", "cm", "game-config", "-n", "default", "--no-headers")); len(f) < 2 || f[1] != "2" {
		t.Errorf("kubectl get cm printed %q", f)
	}
	want := "color.good=purple\ncolor.bad=yellow\nallow.textmode=true\nhow.nice.to.look=fairlyNice\n"
	if out := u.must("get", "cm", "game-config", "-n", "default", "-o", `jsonpath={.data.ui\.properties}`); out != want {
		t.Errorf("ui.properties is %q", out)
	}
}

func TestPodConfigMap(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-configmap-env.yaml"))
	u.eventually(time.Minute, is("CreateContainerConfigError"), "get", "pod", "dapi-test-pod", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
	u.must("create", "configmap", "special-config", "--from-literal=SPECIAL_LEVEL=very", "--from-literal=SPECIAL_TYPE=charm")
	u.phase("dapi-test-pod", "Succeeded")
	if out := u.must("get", "pod", "dapi-test-pod", "--no-headers"); !strings.Contains(out, "Completed") {
		t.Errorf("kubectl get printed %q", out)
	}
	if out := u.must("logs", "dapi-test-pod"); out != "very charm\n" {
		t.Errorf("log is %q", out)
	}
	u.refused([]string{"pod updates may not change fields other than"}, "apply", "-f", manifest("pod-configmap-volume.yaml"))
	u.must("delete", "pod", "dapi-test-pod")
	u.must("delete", "configmap", "special-config")

	u.must("apply", "-f", manifest("pod-configmap-volume.yaml"))
	u.eventually(time.Minute, says(`configmap "special-config" not found`), "get", "events", "--field-selector", "reason=FailedMount")
	if out := u.must("get", "pod", "dapi-test-pod", "--no-headers"); !strings.Contains(out, "ContainerCreating") {
		t.Errorf("kubectl get printed %q", out)
	}
	u.must("create", "configmap", "special-config", "--from-literal=SPECIAL_LEVEL=very", "--from-literal=SPECIAL_TYPE=charm")
	u.eventually(2*time.Minute, is("Succeeded"), "get", "pod", "dapi-test-pod", "-o", "jsonpath={.status.phase}")
	if out := u.must("logs", "dapi-test-pod"); out != "SPECIAL_LEVEL\nSPECIAL_TYPE\n" {
		t.Errorf("log is %q", out)
	}
}

func TestPodLivenessExec(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute and a half")
	}
	t.Parallel()
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-liveness-exec.yaml"))
	u.phase("liveness-exec", "Running")
	u.eventually(time.Minute, says("Liveness probe failed: cat: can't open '/tmp/healthy'"), "get", "events", "--field-selector", "reason=Unhealthy")
	u.eventually(100*time.Second, is("1"), "get", "pod", "liveness-exec", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
	u.eventually(10*time.Second, says("failed liveness probe, will be restarted"), "get", "events", "--field-selector", "reason=Killing")
}

func TestPodCounter(t *testing.T) {
	u := newUser(t)
	u.must("apply", "-f", manifest("pod-counter.yaml"))
	u.phase("counter", "Running")
	u.eventually(20*time.Second, says("\n3: "), "logs", "counter")
	if out := u.must("logs", "counter"); !strings.HasPrefix(out, "0: ") {
		t.Errorf("log starts with %q", out[:min(20, len(out))])
	}
	if out := u.must("logs", "counter", "--tail=2"); strings.Count(out, "\n") != 2 {
		t.Errorf("--tail=2 printed %q", out)
	}
	if out := u.must("logs", "counter", "--since=1s"); strings.HasPrefix(out, "0: ") {
		t.Errorf("--since=1s printed all: %q", out)
	}
}
