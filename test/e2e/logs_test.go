package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A container that writes 30 MB in half a minute: its log is rotated twice or so meanwhile. Its last word comes right
// before its end: a log that is rotated with nothing to follow is an empty one, here as upstream.
const (
	talkLines  = 120001
	talkScript = `pad=$(head -c 200 /dev/zero | tr '\0' x)
awk -v pad=$pad 'BEGIN { for (i = 0; i < 120000; i++) { print i, pad; if (i % 5000 == 4999) { fflush(); system("sleep 1") } } print i, pad }'`
)

// TestLogsAcrossRotation: who follows a log sees every line once though it is rotated, and a collector of logs finds
// the files where they always are.
func TestLogsAcrossRotation(t *testing.T) {
	u := newUser(t)
	u.must("run", "talk", "--image=busybox:1.36", "--restart=Never", "--", "sh", "-c", talkScript)
	u.phase("talk", "Running")
	node := u.must("get", "pod", "talk", "-o", "jsonpath={.spec.nodeName}")
	u.must("run", "collector", "--image=busybox:1.36", "--overrides", fmt.Sprintf(`{"spec":{"nodeName":%q,"terminationGracePeriodSeconds":0,
		"volumes":[{"name":"log","hostPath":{"path":"/var/log"}}],"containers":[{"name":"collector","image":"busybox:1.36","command":["sleep","1000"],
		"volumeMounts":[{"name":"log","mountPath":"/var/log"}]}]}}`, node))
	lines := strings.Split(strings.TrimSuffix(u.must("logs", "--follow", "talk"), "\n"), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, fmt.Sprintf("%d x", i)) {
			t.Fatalf("line %d is %.40q", i, line)
		}
	}
	if len(lines) != talkLines {
		t.Errorf("%d lines", len(lines))
	}
	if out := u.must("logs", "talk", "--tail=1"); !strings.HasPrefix(out, fmt.Sprintf("%d x", talkLines-1)) {
		t.Errorf("the last line is %.40q", out)
	}
	u.phase("collector", "Running")
	files := u.must("exec", "collector", "--", "sh", "-c", "ls /var/log/pods/"+u.namespace+"_talk_*/talk")
	if !strings.Contains(files, "0.log\n") || !strings.Contains(files, "0.log.2") {
		t.Errorf("files of the log: %q", files)
	}
	links := []string{"exec", "collector", "--", "sh", "-c", "cat /var/log/containers/talk_" + u.namespace + "_talk-*.log | tail -n 1"}
	if out := u.must(links...); !strings.Contains(out, fmt.Sprintf(" stdout F %d x", talkLines-1)) {
		t.Errorf("through the link: %.80q", out)
	}
	u.must("delete", "pod", "talk", "--grace-period=0", "--force")
	u.eventually(30*time.Second, func(out string) bool { return !strings.Contains(out, "talk_"+u.namespace) }, "exec", "collector", "--", "ls", "/var/log/containers")
	u.must("delete", "pod", "collector", "--wait=false")
}
