package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	helm4 "helm.sh/helm/v4/pkg/cmd"
	"helm.sh/helm/v4/pkg/kube"
)

// asHelm in the environment makes the test's program be Helm, which spares a second one of its size.
const asHelm = "CLIENTS_TEST_AS_HELM"

// beHelm is Helm's main function.
func beHelm() int {
	kube.ManagedFieldsManager = "helm"
	cmd, err := helm4.NewRootCmd(os.Stdout, os.Args[1:], helm4.SetupLogging)
	if err == nil {
		err = cmd.Execute()
	}
	if err != nil {
		return 1
	}
	return 0
}

// TestHelm takes a chart through its life.
func TestHelm(t *testing.T) {
	admin(t)
	helm, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asHelm, "yes")
	home := t.TempDir()
	for _, name := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		t.Setenv(name, filepath.Join(home, name))
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	h := func(args ...string) string {
		t.Helper()
		return command(t, helm, append(args, "--namespace", "charts")...)
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q is missing in\n%s", w, out)
			}
		}
	}
	const chart = "testdata/chart"
	says(h("install", "shop", chart, "--create-namespace"), "STATUS: deployed", "REVISION: 1")
	says(h("upgrade", "shop", chart, "--dry-run=server"), "kind: Deployment", `serverVersion: "v1.36`)
	says(h("list"), "shop", "deployed")
	says(h("get", "manifest", "shop"), "kind: Deployment", "replicas: 0")
	if out, err := attempt(helm, "install", "shop", chart, "--namespace", "charts"); err == nil {
		t.Errorf("a second installation of one name: %s", out)
	}
	says(h("upgrade", "shop", chart, "--set", "greeting=later", "--wait", "--timeout", "60s"), "REVISION: 2")
	says(h("get", "values", "shop"), "greeting: later")
	if out, err := attempt(helm, "upgrade", "shop", chart, "--set", "greeting=bad name", "--set", "label=bad label", "--namespace", "charts"); err == nil || !strings.Contains(out, "Invalid value") {
		t.Errorf("an upgrade that the server refuses: %v\n%s", err, out)
	}
	h("rollback", "shop", "1")
	says(h("history", "shop"), "superseded", "Rollback to 1")
	says(h("status", "shop"), "STATUS: deployed")
	says(h("upgrade", "--install", "shop", chart, "--server-side=true", "--force-conflicts"), "STATUS: deployed")
	says(h("uninstall", "shop", "--wait"), "uninstalled")
	if out := h("list"); strings.Contains(out, "shop") {
		t.Errorf("after all: %s", out)
	}
}
