package server

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

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
	return map[string]string{http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
}

// subresources maps a path to those of nodes that guard it; a grant of one of them is enough. What was part of
// proxy once still is, for those who have been granted that.
func subresources(path string) []string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "stats", "metrics", "checkpoint", "statusz":
		return []string{first}
	case "logs":
		return []string{"log"}
	case "flagz":
		return []string{"configz"}
	case "pods", "healthz", "configz":
		return []string{first, "proxy"}
	case "runningpods":
		return []string{"pods", "proxy"}
	}
	return []string{"proxy"}
}
