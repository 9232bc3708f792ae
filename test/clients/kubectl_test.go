package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

var (
	kubectlFlag = flag.String("kubectl", "", "the kubectl that TestKubectl runs; default: the binary's own")
	recordFlag  = flag.String("record", "", "kubeconfig of a kube-apiserver v1.36 without controllers: TestKubectl writes down what kubectl says of it")
)

// transcriptNamespace is where the transcripts' commands act that name no namespace.
const transcriptNamespace = "transcript"

// TestKubectl types the commands of testdata/kubectl and expects, character for character but for what differs from run to
// run, what kubectl said when it talked to kube-apiserver v1.36.3.
func TestKubectl(t *testing.T) {
	config := kubeconfig
	if *recordFlag != "" {
		config = *recordFlag
	} else {
		admin(t) // skips without a server
	}
	c, err := clientcmd.BuildConfigFromFlags("", config)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/kubectl/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			newNamespace(t, c)
			replay(t, file, config)
		})
	}
}

// newNamespace makes the namespace anew, with the service account that a controller would make.
func newNamespace(t *testing.T, c *rest.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	core := kubernetes.NewForConfigOrDie(c).CoreV1()
	_, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: transcriptNamespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err = core.ServiceAccounts(transcriptNamespace).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// replay runs the commands of a transcript: each a line that begins with "$ ", its output, and its exit code.
func replay(t *testing.T, file, config string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var recorded strings.Builder
	home := t.TempDir() // where discovery is remembered, from one command to the next
	for _, entry := range strings.Split(string(text), "\n$ ") {
		line, want, _ := strings.Cut(strings.TrimPrefix(entry, "$ "), "\n")
		want = strings.TrimSpace(want)
		args, err := words(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got := strings.TrimSpace(kubectl(t, config, home, args))
		fmt.Fprintf(&recorded, "$ %s\n%s\n", line, got)
		if *recordFlag == "" && got != want {
			t.Errorf("kubectl %s\nsays\n%s\nwhere kube-apiserver makes it say\n%s", line, got, want)
		}
	}
	if *recordFlag != "" {
		if err := os.WriteFile(file, []byte(recorded.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// kubectl runs a command and returns what it prints, what differs between runs made equal, and its exit code.
func kubectl(t *testing.T, config, home string, args []string) string {
	t.Helper()
	program, before := *kubectlFlag, []string{"--kubeconfig", config, "--namespace", transcriptNamespace}
	if program == "" {
		var err error
		if program, err = filepath.Abs(binary()); err != nil {
			t.Fatal(err)
		}
		before = append([]string{"kubectl"}, before...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(before, args...)...)
	cmd.Dir = "testdata/kubectl"
	cmd.Env = append(os.Environ(), "HOME="+home, "KUBECTL_KUBERC=false") // nothing of whoever runs the test
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return fmt.Sprintf("%s\n(exit %d)", strings.TrimSpace(normal(string(out))), cmd.ProcessState.ExitCode())
}

// varying is what differs between runs, and what is written for it.
var varying = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC`), "TIME"},
	{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000`), "TIME"},
	{regexp.MustCompile(`(resourceVersion"?: ?)"\d+"`), "${1}VERSION"},
	{regexp.MustCompile(`\b10\.(\d+\.){2}\d+\b`), "ADDRESS"},
	{regexp.MustCompile(`\b(127\.0\.0\.1|192\.0\.2\.\d+):\d+`), "SERVER"},
	{regexp.MustCompile(`/tmp/(LIVE|MERGED)-\d+/`), "/tmp/${1}/"},
	{regexp.MustCompile(`kube-api-access-\w{5}`), "kube-api-access-XXXXX"},
	{regexp.MustCompile(`debugger-\w{5}`), "debugger-XXXXX"},
	{regexp.MustCompile(`(80:|80-80 +|nodePort"?: ?)3\d{4}\b`), "${1}PORT"},
	{regexp.MustCompile(`[EIW]\d{4} [\d:.]+ +\d+ `), ""},
	{regexp.MustCompile(`(?m)(\s)\d+(m\d+)?s$`), "${1}AGE"},
	{regexp.MustCompile(`(\s)\d+(m\d+)?s(\s)`), "${1}AGE${3}"},
	{regexp.MustCompile(`<unknown>|<invalid>`), "AGE"},
	{regexp.MustCompile(` +`), " "},
	{regexp.MustCompile(`(?m) +$`), ""},
}

func normal(out string) string {
	for _, v := range varying {
		out = v.what.ReplaceAllString(out, v.as)
	}
	return out
}

// words splits a command as a shell would that knows single quotes only.
func words(line string) (out []string, err error) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	if strings.Count(line, "'")%2 == 1 {
		return nil, errors.New("a quote is not closed")
	}
	return out, nil
}
