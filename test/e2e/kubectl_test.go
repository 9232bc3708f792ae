package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestKubectl does what people do with kubectl, with the one that is built in and with the one of this
// machine, if there is one: Debian's is several versions older.
func TestKubectl(t *testing.T) {
	c := need(t)
	programs := map[string][]string{"built-in": {c.clipper, "kubectl"}}
	if path, err := exec.LookPath("kubectl"); err == nil {
		programs["stock"] = []string{path}
	}
	for name, program := range programs {
		t.Run(name, func(t *testing.T) {
			for _, part := range []struct {
				name string
				test func(*user)
			}{
				{"apply", testApply}, {"rollout", testRollout}, {"look", testLook}, {"reach", testReach},
				{"debug", testDebug}, {"kustomize", testKustomize}, {"change", testChange},
			} {
				t.Run(part.name, func(t *testing.T) {
					t.Parallel()
					u := newUser(t)
					u.kubectl = program
					part.test(u)
				})
			}
		})
	}
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 80}]}
`

func webWith(replicas string) string { return strings.Replace(web, "REPLICAS", replicas, 1) }

// fed runs kubectl with standard input; failure ends the test.
func (u *user) fed(stdin string, args ...string) string {
	u.t.Helper()
	r := u.feed(stdin, args...)
	if r.code != 0 {
		u.t.Fatalf("kubectl %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.both())
	}
	return r.out
}

// has checks that kubectl's output matches every pattern.
func (u *user) has(patterns []string, args ...string) {
	u.t.Helper()
	out := u.must(args...)
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(out) {
			u.t.Errorf("kubectl %s: does not match %q:\n%s", strings.Join(args, " "), p, out)
		}
	}
}

// testApply: server-side and client-side apply, their conflicts, and differences before they are made.
func testApply(u *user) {
	if r := u.feed(webWith("1"), "diff", "-f", "-"); r.code != 1 || !strings.Contains(r.out, "+  name: web") {
		u.t.Errorf("diff of what is not there: exit code %d\n%s", r.code, r.both())
	}
	if out := u.fed(webWith("1"), "apply", "--server-side", "-f", "-"); out != "deployment.apps/web serverside-applied\n" {
		u.t.Errorf("apply: %q", out)
	}
	if r := u.feed(webWith("1"), "diff", "--server-side", "-f", "-"); r.code != 0 || r.out != "" {
		u.t.Errorf("diff of what is there: exit code %d\n%s", r.code, r.both())
	}
	r := u.feed(webWith("2"), "apply", "--server-side", "--field-manager=other", "-f", "-")
	if r.code != 1 || !strings.Contains(r.err, `conflict with "kubectl": .spec.replicas`) {
		u.t.Errorf("conflict: exit code %d\n%s", r.code, r.both())
	}
	u.fed(webWith("2"), "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-")
	u.has([]string{"(?s)manager: kubectl.*manager: other|manager: other.*manager: kubectl"}, "get", "deployment", "web", "-o", "yaml", "--show-managed-fields")
	u.must("delete", "deployment", "web")

	if out := u.fed(webWith("1"), "apply", "-f", "-"); out != "deployment.apps/web created\n" {
		u.t.Errorf("client-side: %q", out)
	}
	if out := u.fed(webWith("1"), "apply", "-f", "-"); out != "deployment.apps/web unchanged\n" {
		u.t.Errorf("again: %q", out)
	}
	if r := u.feed(webWith("0"), "diff", "-f", "-"); r.code != 1 || !strings.Contains(r.out, "+  replicas: 0") {
		u.t.Errorf("diff: exit code %d\n%s", r.code, r.both())
	}
	u.fed(webWith("0"), "apply", "--server-side", "-f", "-") // takes over from the client
	u.must("apply", "view-last-applied", "deployment/web")
}

func testRollout(u *user) {
	u.fed(webWith("2"), "apply", "-f", "-")
	u.must("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
	u.must("wait", "--for=jsonpath={.status.readyReplicas}=2", "deployment/web", "--timeout=60s")
	u.has([]string{"successfully rolled out"}, "rollout", "status", "deployment/web", "--timeout=60s")
	u.must("set", "env", "deployment/web", "A=1")
	u.must("rollout", "status", "deployment/web", "--timeout=60s")
	u.has([]string{`(?m)^1\s`, `(?m)^2\s`}, "rollout", "history", "deployment/web")
	u.has([]string{"A:\t1"}, "rollout", "history", "deployment/web", "--revision=2")
	u.has([]string{"rolled back"}, "rollout", "undo", "deployment/web")
	u.must("rollout", "status", "deployment/web", "--timeout=60s")
	u.must("rollout", "restart", "deployment/web")
	u.must("rollout", "status", "deployment/web", "--timeout=60s")
	u.must("rollout", "pause", "deployment/web")
	u.refused([]string{"paused"}, "rollout", "restart", "deployment/web")
	u.must("rollout", "resume", "deployment/web")
	u.has([]string{"scaled"}, "scale", "deployment/web", "--replicas=1", "--current-replicas=2")
	u.refused([]string{"Expected replicas to be 5"}, "scale", "deployment/web", "--replicas=2", "--current-replicas=5")
	u.has([]string{"DESIRED"}, "get", "deployment", "web", "--subresource=scale")
	u.must("autoscale", "deployment/web", "--min=1", "--max=3", "--cpu-percent=80")
	u.must("expose", "deployment/web", "--port=80", "--name=web")
	u.has([]string{`web\s+ClusterIP`}, "get", "service", "web")
	u.must("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
}

// testLook: what there is, what it is, and who may.
func testLook(u *user) {
	u.has([]string{`(?m)^pods\s+po\s+v1\s+true\s+Pod`, `(?m)^deployments\s+deploy\s+apps/v1\s`}, "api-resources")
	u.has([]string{`create,delete,deletecollection,get,list,patch,update,watch\s+all`}, "api-resources", "-o", "wide", "--api-group=apps")
	u.has([]string{`(?m)^apps/v1$`, `(?m)^v1$`}, "api-versions")
	u.has([]string{`containers\s+<\[\]Container> -required-`, `image\s+<string>`}, "explain", "deployment.spec.template", "--recursive")
	u.has([]string{"restartPolicy"}, "explain", "pods.spec")
	u.has([]string{`\*\.\*\s+\[\]\s+\[\]\s+\[\*\]`}, "auth", "can-i", "--list")
	u.has([]string{"yes"}, "auth", "can-i", "create", "pods")
	u.refused([]string{"no"}, "auth", "can-i", "create", "pods", "--as=nobody")
	u.has([]string{"Username"}, "auth", "whoami")
	u.has([]string{"Server Version: v1.36"}, "version")
	u.has([]string{"ok"}, "get", "--raw", "/readyz")
	u.has([]string{"control plane.* is running at"}, "cluster-info")

	u.must("create", "configmap", "c", "--from-literal=a=b")
	u.has([]string{"^b$"}, "get", "configmap", "c", "-o", "jsonpath={.data.a}")
	u.has([]string{`"a": "b"`}, "get", "configmap", "c", "-o", "json")
	u.has([]string{`N\s+X\nc\s+b`}, "get", "configmap", "c", "-o", "custom-columns=N:.metadata.name,X:.data.a")
	u.has([]string{"^b$"}, "get", "configmap", "c", "-o", "go-template={{.data.a}}")
	u.has([]string{`(?m)^c\s+1\s`}, "get", "configmaps", "--field-selector=metadata.name=c", "--no-headers")
	u.has([]string{`(?s)Name:\s+c.*Data`}, "describe", "configmap", "c")
	u.must("run", "bad", "--image=nosuch.invalid/x", "--restart=Never")
	u.eventually(time.Minute, says("Failed"), "events", "--for", "pod/bad")
	u.has([]string{"LAST SEEN"}, "events", "--types=Warning")
	u.must("create", "serviceaccount", "robot")
	u.has([]string{`^\S+\.\S+\.\S+$`}, "create", "token", "robot", "--duration=1h")
}

// testReach: into containers, by every kind of stream.
func testReach(u *user) {
	u.must("run", "box", "--image=busybox", "--restart=Never", "--grace-period=0", "--overrides", `{"spec":{"terminationGracePeriodSeconds":0}}`, "--", "sh", "-c", "echo hello; while :; do sleep 1; done")
	u.phase("box", "Running")
	u.eventually(time.Minute, is("hello"), "logs", "box")
	u.has([]string{`T\d\d:\d\d:\d\d.*hello`}, "logs", "box", "--timestamps", "--tail=1")
	u.has([]string{"^in the box\n$"}, "exec", "box", "--", "echo", "in the box")
	if r := u.try("exec", "box", "--", "sh", "-c", "exit 7"); r.code != 7 {
		u.t.Errorf("exit code %d\n%s", r.code, r.both())
	}
	if out := u.fed("through\n", "exec", "-i", "box", "--", "cat"); out != "through\n" {
		u.t.Errorf("standard input came back as %q", out)
	}
	older := *u // the protocol before WebSocket
	older.kubectl = append([]string{"env", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"}, u.kubectl...)
	if out := older.fed("through\n", "exec", "-i", "box", "--", "cat"); out != "through\n" {
		u.t.Errorf("over SPDY standard input came back as %q", out)
	}
	if r := older.try("exec", "box", "--", "sh", "-c", "exit 7"); r.code != 7 {
		u.t.Errorf("over SPDY: exit code %d\n%s", r.code, r.both())
	}
	file := filepath.Join(u.t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("copied"), 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.must("cp", file, "box:/tmp/file")
	u.must("cp", "box:/tmp/file", file+".back")
	if back, err := os.ReadFile(file + ".back"); err != nil || string(back) != "copied" {
		u.t.Errorf("copied back: %q (%v)", back, err)
	}

	u.must("run", "web", "--image=nginx", "--port=80", "--overrides", `{"spec":{"terminationGracePeriodSeconds":0}}`)
	u.must("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	forwarded := u.background(`Forwarding from (127\.0\.0\.1:\d+) -> 80`, "port-forward", "pod/web", ":80")
	fetch(u.t, "http://"+forwarded+"/", "nginx")
	fetch(u.t, "http://"+older.background(`Forwarding from (127\.0\.0\.1:\d+) -> 80`, "port-forward", "pod/web", ":80")+"/", "nginx")
	proxied := u.background(`Starting to serve on (\S+)`, "proxy", "--port=0")
	fetch(u.t, "http://"+proxied+"/api/v1/namespaces/"+u.namespace+"/pods/web/proxy/", "nginx")
	fetch(u.t, "http://"+proxied+"/api/v1/namespaces/"+u.namespace+"/pods/http:web:80/proxy/", "nginx")
	u.must("expose", "pod", "web", "--port=80", "--name=web")
	u.eventually(time.Minute, says("80"), "get", "endpointslices", "-l", "kubernetes.io/service-name=web")
	fetch(u.t, "http://"+proxied+"/api/v1/namespaces/"+u.namespace+"/services/web/proxy/", "nginx")
}

// background starts kubectl and waits until it says what is wanted; it ends with the test.
func (u *user) background(ready string, args ...string) string {
	u.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args = append(append(u.kubectl[1:len(u.kubectl):len(u.kubectl)], "--kubeconfig", u.kubeconfig, "--namespace", u.namespace), args...)
	cmd := exec.CommandContext(ctx, u.kubectl[0], args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		u.t.Fatal(err)
	}
	found := make(chan string, 1)
	u.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := regexp.MustCompile(ready).FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		_, _ = io.Copy(io.Discard, out) // until it ends
	}()
	select {
	case address := <-found:
		return address
	case <-time.After(30 * time.Second):
		u.t.Fatalf("kubectl %s: never says %q", strings.Join(args, " "), ready)
		return ""
	}
}

func fetch(t *testing.T, url, want string) {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		t.Errorf("%s: %d %q (%v), want %q", url, res.StatusCode, body, err, want)
	}
}

func testDebug(u *user) {
	u.must("run", "app", "--image=nginx", "--overrides", `{"spec":{"terminationGracePeriodSeconds":0}}`)
	u.phase("app", "Running")
	u.must("debug", "app", "--image=busybox", "--container=look", "--profile=general", "--", "sh", "-c", "echo looked; sleep 300")
	u.eventually(time.Minute, is("looked"), "logs", "app", "-c", "look")
	u.must("debug", "app", "--image=busybox", "--copy-to=copy", "--container=look", "--profile=general", "--", "sleep", "300")
	u.eventually(time.Minute, says("look"), "get", "pod", "copy", "-o", "jsonpath={.spec.containers[*].name}")
	u.must("delete", "pod", "copy", "--now")
}

func testKustomize(u *user) {
	dir := u.t.TempDir()
	for name, text := range map[string]string{
		"web.yaml":           webWith("0"),
		"kustomization.yaml": "resources: [web.yaml]\nnamePrefix: k-\nlabels: [{pairs: {by: kustomize}}]\nconfigMapGenerator: [{name: settings, literals: [a=b]}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			u.t.Fatal(err)
		}
	}
	u.has([]string{"name: k-web", "name: k-settings-"}, "kustomize", dir)
	u.has([]string{"deployment.apps/k-web created", "configmap/k-settings-.* created"}, "apply", "-k", dir)
	u.has([]string{"k-web"}, "get", "deployments", "-l", "by=kustomize")
	u.must("delete", "-k", dir)
}

// testChange: the ways to change what is there.
func testChange(u *user) {
	u.must("create", "configmap", "c", "--from-literal=a=b")
	u.must("label", "configmap", "c", "x=1")
	u.refused([]string{"--overwrite is false"}, "label", "configmap", "c", "x=2")
	u.must("label", "configmap", "c", "x=2", "--overwrite")
	u.must("annotate", "configmap", "c", "note=yes")
	u.must("patch", "configmap", "c", "-p", `{"data":{"a":"strategic"}}`)
	u.must("patch", "configmap", "c", "--type=merge", "-p", `{"data":{"a":"merge"}}`)
	u.must("patch", "configmap", "c", "--type=json", "-p", `[{"op":"replace","path":"/data/a","value":"json"}]`)
	u.has([]string{"^json 2 yes$"}, "get", "configmap", "c", "-o", "jsonpath={.data.a} {.metadata.labels.x} {.metadata.annotations.note}")
	out := u.must("get", "configmap", "c", "-o", "json")
	u.fed(strings.Replace(out, `"json"`, `"replaced"`, 1), "replace", "-f", "-")
	u.refused([]string{"the object has been modified"}, "replace", "-f", writeTemp(u.t, strings.Replace(out, `"json"`, `"late"`, 1)))
	u.must("create", "quota", "q", "--hard=configmaps=10")
	u.must("create", "role", "r", "--verb=get", "--resource=pods")
	u.must("create", "rolebinding", "rb", "--role=r", "--user=jane")
	u.has([]string{"yes"}, "auth", "can-i", "get", "pods", "--as=jane")
	u.must("create", "job", "j", "--image=busybox", "--", "true")
	u.must("wait", "--for=condition=Complete", "job/j", "--timeout=60s")
	u.must("delete", "configmap", "c", "--wait")
	u.refused([]string{`configmaps "c" not found`}, "get", "configmap", "c")
	u.must("delete", "jobs,configmaps,quota", "--all")
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
