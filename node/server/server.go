// Package server is the node agent's own HTTPS API: the kubelet's. The API server calls it for logs, exec,
// attach and port-forward; metrics collectors call it for what pods use. Paths, parameters and messages are
// those of a v1.36 kubelet. Every request but health checks is authorized.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/runtime"
)

// A Pod is what the server needs of a pod of this node.
type Pod interface {
	// Status returns the object and the status as the node knows it.
	Status() (*corev1.Pod, corev1.PodStatus)
	// Sandbox is the ID of the pod's sandbox, "" while none runs.
	Sandbox() string
	// Container returns the newest and the previous attempt of a container; either may be nil.
	Container(name string) (current, previous *runtime.ContainerStatus)
}

// Config is what the server serves. All fields are required.
type Config struct {
	Pods    func() []Pod
	Runtime runtime.Runtime
	Node    func() NodeFacts
	// Authorize decides about a request: nil, or an error that StatusOf knows.
	Authorize   func(r *http.Request, verb, subresource string) error
	ServingCert func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ClientCAs   *x509.CertPool
}

// NodeFacts are what stats need of the node itself.
type NodeFacts struct {
	Name     string
	Memory   int64
	DataDir  string
	LogsDir  string
	BootTime time.Time
	MaxPods  int64
	Cluster  ClusterFacts
}

// ClusterFacts are what /configz tells.
type ClusterFacts struct {
	Domain     string
	DNS        []string
	CgroupRoot string
	Manifests  string
}

// A Server serves one node.
type Server struct {
	cfg   Config
	mux   *http.ServeMux
	rates rates
}

// New returns the server. It listens nowhere yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	for _, p := range []string{"/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"} {
		s.mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	}
	s.mux.HandleFunc("GET /pods", s.pods)
	s.mux.HandleFunc("GET /pods/", s.pods)
	s.mux.HandleFunc("GET /runningpods/", s.runningPods)
	s.mux.HandleFunc("GET /containerLogs/{ns}/{pod}/{container}", s.logs)
	for _, m := range []string{"GET ", "POST "} {
		s.mux.HandleFunc(m+"/exec/{ns}/{pod}/{container}", s.exec)
		s.mux.HandleFunc(m+"/exec/{ns}/{pod}/{uid}/{container}", s.exec)
		s.mux.HandleFunc(m+"/attach/{ns}/{pod}/{container}", s.attach)
		s.mux.HandleFunc(m+"/attach/{ns}/{pod}/{uid}/{container}", s.attach)
		s.mux.HandleFunc(m+"/portForward/{ns}/{pod}", s.portForward)
		s.mux.HandleFunc(m+"/portForward/{ns}/{pod}/{uid}", s.portForward)
	}
	s.mux.HandleFunc("POST /run/{ns}/{pod}/{container}", s.run)
	s.mux.HandleFunc("POST /run/{ns}/{pod}/{uid}/{container}", s.run)
	s.mux.HandleFunc("GET /stats/summary", s.summary)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /metrics/resource", s.resourceMetrics)
	s.mux.HandleFunc("GET /metrics/cadvisor", s.cadvisorMetrics)
	s.mux.HandleFunc("GET /metrics/probes", func(http.ResponseWriter, *http.Request) {})
	s.mux.HandleFunc("GET /configz", s.configz)
	s.mux.Handle("GET /logs/", http.StripPrefix("/logs/", http.FileServer(http.Dir("/var/log"))))
	return s
}

// ServeHTTP authorizes the request and answers it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.cfg.Authorize(r, verb(r), subresource(r.URL.Path)); err != nil {
		code := StatusOf(err)
		if code == http.StatusInternalServerError {
			slog.Warn("Authorizing a request to the node failed", "path", r.URL.Path, "err", err)
		}
		http.Error(w, err.Error(), code)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Serve answers requests on l until ctx ends. Streams are cut then.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: s.cfg.ServingCert,
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: s.cfg.ClientCAs,
			NextProtos: []string{"h2", "http/1.1"},
		},
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := h.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the node's API: %w", err)
	}
	return ctx.Err()
}

// A Refusal is an error with an HTTP status.
type Refusal struct {
	Code int
	Text string
}

func (e *Refusal) Error() string { return e.Text }

// StatusOf returns the HTTP status of an error of Authorize: a Refusal's, or an API error's.
func StatusOf(err error) int {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	var st apierrors.APIStatus
	if errors.As(err, &st) && st.Status().Code != 0 {
		return int(st.Status().Code)
	}
	return http.StatusInternalServerError
}

// verb maps a request to an API verb, as the kubelet does.
func verb(r *http.Request) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

// subresource maps a path to the subresource of nodes that guards it.
func subresource(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "stats", "metrics", "pods", "configz", "healthz":
		return first
	case "logs":
		return "log"
	case "runningpods":
		return "pods"
	}
	return "proxy"
}

// find returns the pod that a path names, or answers 404.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (Pod, *corev1.Pod, bool) {
	ns, name, uid := r.PathValue("ns"), r.PathValue("pod"), r.PathValue("uid")
	for _, p := range s.cfg.Pods() {
		obj, _ := p.Status()
		if obj.Namespace == ns && obj.Name == name && (uid == "" || obj.UID == types.UID(uid)) {
			return p, obj, true
		}
	}
	http.Error(w, fmt.Sprintf("pod does not exist: %s/%s", ns, name), http.StatusNotFound)
	return nil, nil, false
}

// running returns the ID of a running container, or answers 404.
func (s *Server) running(w http.ResponseWriter, r *http.Request) (id string, spec *corev1.Container, ok bool) {
	p, obj, ok := s.find(w, r)
	if !ok {
		return "", nil, false
	}
	name := r.PathValue("container")
	cur, _ := p.Container(name)
	if cur == nil || cur.State != runtime.Running {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusNotFound)
		return "", nil, false
	}
	return cur.ID, findContainer(obj, name), true
}

func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for _, cs := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range cs {
			if cs[i].Name == name {
				return &cs[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon); c.Name == name {
			return c
		}
	}
	return nil
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) { s.writePods(w, false) }

func (s *Server) runningPods(w http.ResponseWriter, _ *http.Request) { s.writePods(w, true) }

func (s *Server) writePods(w http.ResponseWriter, running bool) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range s.cfg.Pods() {
		obj, st := p.Status()
		if running && st.Phase != corev1.PodRunning {
			continue
		}
		out := *obj
		out.Status = st
		list.Items = append(list.Items, out)
	}
	writeJSON(w, list)
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b) //nolint:errcheck // the caller has gone
}
