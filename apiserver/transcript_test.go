package apiserver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"clipper/apiserver/servertest"
)

// recordFlag names an API server whose answers are written into the transcripts in place of being compared. The
// transcripts were recorded from kube-apiserver v1.36.3 with all admission plug-ins off and a token file that
// makes "admin" a member of system:masters:
//
//	go test ./apiserver -run TestTranscripts -record https://127.0.0.1:6443
var recordFlag = flag.String("record", "", "record transcripts from this API server")

// TestTranscripts sends what testdata/transcripts says and compares every byte of the answers, but for
// what differs from run to run, with those of upstream's API server. In a file, requests are lines that begin with
// "> ", answers lines that begin with "< ". Paths and bodies are templates; what earlier answers said can be asked
// for: {{last "uid"}} is the first "uid" in the answer before, {{first "uid"}} that in the file's first. A request with a header Until is sent again until
// the answer contains that text.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			if *recordFlag == "" {
				t.Parallel() // most of the time goes into watches that wait for their end
			}
			playFile(t, file)
		})
	}
}

func playFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := player{t: t, base: *recordFlag}
	if p.base == "" {
		p.base = start(t, servertest.Options{}).URL
	}
	p.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true,
	}}
	defer p.client.CloseIdleConnections()
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		got := p.play(block)
		if *recordFlag == "" && anyOrder(got) != anyOrder(block) {
			t.Errorf("%s, part %d:\n%s\nupstream answers\n%s\nwe answer\n%s", file, i+1, only(block, ">"), only(block, "<"), only(got, "<"))
		}
		fmt.Fprintf(&out, "%s\n\n", got)
	}
	if *recordFlag != "" {
		if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// only returns the lines of a block that begin with mark.
func only(block, mark string) string {
	var lines []string
	for line := range strings.SplitSeq(block, "\n") {
		if strings.HasPrefix(line, mark) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// A player sends requests and remembers the first and the last answer.
type player struct {
	t      *testing.T
	base   string
	client *http.Client
	first  string
	body   string
}

// play sends the request of a block and returns the block with the answer that came.
func (p *player) play(block string) string {
	p.t.Helper()
	var kept, request []string
	for line := range strings.SplitSeq(block, "\n") {
		if !strings.HasPrefix(line, "<") {
			kept = append(kept, line)
		}
		if line == ">" {
			request = append(request, "")
		} else if rest, ok := strings.CutPrefix(line, "> "); ok {
			request = append(request, rest)
		}
	}
	if len(request) == 0 {
		return block // a comment
	}
	answer := p.send(request)
	for line := range strings.SplitSeq(strings.TrimSuffix(answer, "\n"), "\n") {
		kept = append(kept, strings.TrimRight("< "+line, " "))
	}
	return strings.Join(kept, "\n")
}

func (p *player) send(request []string) string {
	p.t.Helper()
	head, body := request, ""
	for i, line := range request {
		if line == "" {
			head, body = request[:i], p.expand(strings.Join(request[i+1:], "\n"))
			break
		}
	}
	method, path, _ := strings.Cut(head[0], " ")
	r, err := http.NewRequest(method, p.base+p.expand(path), strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer admin")
	r.Header.Set("User-Agent", "transcript/1")
	until := ""
	for _, line := range head[1:] {
		key, value, _ := strings.Cut(line, ": ")
		if key == "Until" {
			until = value
			continue
		}
		r.Header.Set(key, value)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		answer := p.exchange(r)
		if strings.Contains(p.body, until) {
			return answer
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: never said %q but\n%s", head[0], until, answer)
		}
	}
}

func (p *player) exchange(r *http.Request) string {
	p.t.Helper()
	res, err := p.client.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	if p.body = string(answer); p.first == "" {
		p.first = p.body
	}
	return show(res, p.body)
}

// expand fills in a template.
func (p *player) expand(text string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	tmpl, err := template.New("").Funcs(template.FuncMap{
		"repeat": func(n int, s string) string { return strings.Repeat(s, n) },
		"query":  url.QueryEscape,
		"seq":    func(n int) []struct{} { return make([]struct{}, n) },
		"last":   func(field string) string { return p.said(p.body, field) },
		"first":  func(field string) string { return p.said(p.first, field) },
	}).Parse(text)
	if err != nil {
		p.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, nil); err != nil {
		p.t.Fatal(err)
	}
	return out.String()
}

// said returns the first value of a field in an answer.
func (p *player) said(answer, field string) string {
	p.t.Helper()
	found := regexp.MustCompile(`"` + field + `": ?"([^"]*)"`).FindStringSubmatch(answer)
	if found == nil {
		p.t.Fatalf("no %q in %s", field, answer)
	}
	return found[1]
}

// shownHeaders are those of an answer that matter to clients.
var shownHeaders = []string{"Warning", "Retry-After", "Content-Encoding", "Vary", "Location", "X-Content-Type-Options", "Cache-Control", "Allow"}

func show(res *http.Response, body string) string {
	var b strings.Builder
	fmt.Fprintln(&b, res.StatusCode, res.Header.Get("Content-Type"))
	for _, key := range shownHeaders {
		for _, value := range res.Header.Values(key) {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	const most = 30000
	for _, v := range volatile {
		body = v.ReplaceAllString(body, "$1")
	}
	if len(body) > most {
		body = body[:most] + "... of " + strconv.Itoa(len(body))
	}
	if strings.ContainsFunc(body, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == '\uFFFD' }) {
		body = strconv.Quote(body)
	}
	if strings.HasSuffix(body, "\n") && strings.Count(body, "\n") == 1 {
		body += "(newline)"
	}
	b.WriteString(strings.ReplaceAll(body, "\n\n", "\n"))
	return b.String()
}

// anyOrder sorts the entries of managedFields: their order depends on the second in which each was written.
func anyOrder(block string) string {
	block = quotedManagedFields.ReplaceAllString(block, "$1")
	return managedFields.ReplaceAllStringFunc(block, func(found string) string {
		list := strings.TrimPrefix(found, `"managedFields":`)
		var entries []json.RawMessage
		if json.Unmarshal([]byte(list), &entries) != nil {
			return found // the answer was cut
		}
		slices.SortFunc(entries, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		return fmt.Sprintf("managedFields: %s", entries)
	})
}

var (
	managedFields       = regexp.MustCompile(`"managedFields":\[[^\]]*\]`)
	quotedManagedFields = regexp.MustCompile(`(managedFields\\+":)\[[^\]]*\]`)
)

// volatile is what differs from run to run.
var volatile = []*regexp.Regexp{
	regexp.MustCompile(`()\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`),
	regexp.MustCompile(`()\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`),
	regexp.MustCompile(`("?resourceVersion\\*"?: ?\\*")\d+`),
	regexp.MustCompile(`("continue": ?")[^"]+`),
	regexp.MustCompile(`(\bgen-)[a-z0-9]{5}\b`),
	regexp.MustCompile(`(current: )\d+`),
	regexp.MustCompile(`([",-] ?)\d+s\b`),
	regexp.MustCompile(`(record \()\d+`),
	regexp.MustCompile(`(\bBad_)[a-z0-9]{5}\b`),
	regexp.MustCompile(`(in scheme \\")[^"\\]*`), // where upstream's source keeps it
}
