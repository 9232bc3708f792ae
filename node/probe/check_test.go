package probe

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHTTPAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Host + " " + r.UserAgent())) })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/bad", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://elsewhere.example/")
		w.WriteHeader(http.StatusFound)
		_, _ = w.Write([]byte("gone"))
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	server := httptest.NewServer(mux)
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, host string
		want       Result
		output     string
	}{
		{"/ok", "", Success, u.Host + " kube-probe/1.36"},
		{"/ok", "name.example", Success, "name.example kube-probe/1.36"},
		{"/bad", "", Failure, "HTTP probe failed with statuscode: 418"},
		{"/here", "", Failure, "HTTP probe failed with statuscode: 418"},
		{"/away", "", Warning, "Probe terminated redirects, Response body: gone"},
		{"/round", "", Failure, `Get "/round": stopped after 10 redirects`},
	} {
		get := &corev1.HTTPGetAction{Path: tc.path, Port: intstr.Parse(u.Port())}
		if tc.host != "" {
			get.HTTPHeaders = []corev1.HTTPHeader{{Name: "Host", Value: tc.host}}
		}
		p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: get}}
		r, out, err := Check(t.Context(), p, Target{PodIP: u.Hostname(), Container: &corev1.Container{}})
		if r != tc.want || out != tc.output || err != nil {
			t.Errorf("%s: %v %q %v; want %v %q", tc.path, r, out, err, tc.want, tc.output)
		}
	}
}

// TestWhatCannotBeMadeIsTriedAgain: an exec that cannot be started is no verdict on the container yet.
func TestWhatCannotBeMadeIsTriedAgain(t *testing.T) {
	tries := 0
	exec := func(fail int) Target {
		return Target{Exec: func(context.Context, []string, int) (int, string, error) {
			if tries++; tries <= fail {
				return 0, "", errors.New("no room")
			}
			return 0, "fine", nil
		}}
	}
	for _, tc := range []struct {
		fail, tries int
		want        Result
	}{{0, 1, Success}, {2, 3, Success}, {5, 3, Unknown}} {
		tries = 0
		p := Prober{Probe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}, Target: exec(tc.fail), StartedAt: time.Now()}
		r, _, err := p.check(t.Context())
		if r != tc.want || tries != tc.tries || (r == Unknown) != (err != nil) {
			t.Errorf("%d failures: %v after %d tries, %v", tc.fail, r, tries, err)
		}
	}
}
