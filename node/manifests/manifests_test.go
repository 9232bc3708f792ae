package manifests

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const manifest = `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: a, image: busybox}]
`

func TestParse(t *testing.T) {
	p, err := Parse([]byte(manifest), "host:n1\nfile:/m/web.yaml", FileSource, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "web-n1" || p.Namespace != "default" || p.Spec.NodeName != "n1" || p.Spec.RestartPolicy != "Always" {
		t.Errorf("got %s/%s on %s, restarted %s", p.Namespace, p.Name, p.Spec.NodeName, p.Spec.RestartPolicy)
	}
	if !IsStatic(p) || p.Annotations[HashAnnotation] != string(p.UID) || len(p.Spec.Tolerations) != 1 {
		t.Errorf("annotations %v, tolerations %v", p.Annotations, p.Spec.Tolerations)
	}
	other, err := Parse([]byte(strings.Replace(manifest, "busybox", "nginx", 1)), "host:n1\nfile:/m/web.yaml", FileSource, "n1")
	if err != nil || other.UID == p.UID {
		t.Errorf("what has changed is another pod: %v", err)
	}
}

func TestWhatIsNoStaticPod(t *testing.T) {
	with := func(line string) string { return manifest + "  " + line + "\n" }
	for name, tc := range map[string]struct{ manifest, fault string }{
		"no object":       {"a: b", "read as an API object"},
		"another kind":    {"apiVersion: v1\nkind: Node\nmetadata: {name: one}", "invalid pod: it is a Node"},
		"no name":         {strings.Replace(manifest, "name: web", "labels: {}", 1), "name is needed"},
		"an invalid name": {strings.Replace(manifest, "name: web", "name: Web_", 1), "invalid pod: metadata.name: Invalid value"},
		"no containers":   {strings.Replace(manifest, "[{name: a, image: busybox}]", "[]", 1), "spec.containers: Required value"},
		"service account": {with("serviceAccountName: x"), "may not reference serviceaccounts"},
		"pull secret":     {with("imagePullSecrets: [{name: x}]"), "may not reference secrets"},
		"a variable":      {strings.Replace(manifest, "image: busybox", "image: b, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]", 1), "may not reference secrets"},
		"variables":       {strings.Replace(manifest, "image: busybox", "image: b, envFrom: [{configMapRef: {name: c}}]", 1), "may not reference configmaps"},
		"configMap":       {with("volumes: [{name: v, configMap: {name: c}}]"), "may not reference configmaps"},
		"claim":           {with("volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]"), "may not reference persistentvolumeclaims"},
		"projected":       {with("volumes: [{name: v, projected: {sources: [{secret: {name: s}}]}}]"), "may not reference secrets"},
	} {
		if _, err := Parse([]byte(tc.manifest), "o", FileSource, "n"); err == nil || !strings.Contains(err.Error(), tc.fault) {
			t.Errorf("%s: got %v, want %q", name, err, tc.fault)
		}
	}
}

func TestURL(t *testing.T) {
	answer, status := manifest, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != "t" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	u := &URL{Address: server.URL, Header: map[string][]string{"x-token": {"t"}}, Node: "n"}
	read := func(want int, fresh bool, fault string) {
		t.Helper()
		pods, got, err := u.Read(t.Context())
		if len(pods) != want || got != fresh || (fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%d pods, fresh %v, %v; want %d, %v, %q", len(pods), got, err, want, fresh, fault)
		}
		for _, p := range pods {
			if !IsStatic(p) || p.Annotations[SourceAnnotation] != URLSource {
				t.Errorf("annotations %v", p.Annotations)
			}
		}
	}
	read(1, true, "")
	read(0, false, "") // nothing new
	status = http.StatusInternalServerError
	read(0, false, "500")
	status, answer = http.StatusOK, "nonsense"
	read(0, false, "read as an API object")
	answer = `{"apiVersion":"v1","kind":"PodList","items":[
		{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"i"}]}},
		{"metadata":{"name":"b"},"spec":{"containers":[{"name":"a","image":"i"}]}}]}`
	read(2, true, "")
	answer = ""
	read(0, true, "zero-length data") // no pods any more
}

// FuzzParseAll: whatever the network says, a pod that comes of it is static and has a name and containers.
func FuzzParseAll(f *testing.F) {
	f.Add([]byte(manifest))
	f.Add([]byte(`{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"i"}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pods, err := ParseAll(data, "o", URLSource, "n")
		if err != nil {
			return
		}
		for _, p := range pods {
			if p == nil || !IsStatic(p) || p.Name == "" || len(p.Spec.Containers) == 0 {
				t.Errorf("%q: %v", data, p)
			}
		}
	})
}
