package main

import (
	"archive/tar"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A registry is an archive whose images can be pulled.
type registry struct {
	file  *os.File
	blobs map[string]span       // by digest
	tags  map[string]descriptor // by "repo/path:tag" and "repo/path@digest"
}

// A span is where the archive has a blob.
type span struct{ off, size int64 }

// serve answers the pull half of the registry protocol for every image of the
// archive, by repository path; the registry part of the reference is ignored.
func serve(file, listen string) {
	r, images := readRegistry(file)
	log.Printf("serving %d images on %s", images, listen)
	check(http.ListenAndServe(listen, r))
}

func readRegistry(file string) (*registry, int) {
	f, err := os.Open(file)
	check(err)
	r := &registry{file: f, blobs: map[string]span{}, tags: map[string]descriptor{}}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		check(err)
		if strings.HasPrefix(h.Name, "blobs/sha256/") {
			off, err := f.Seek(0, io.SeekCurrent)
			check(err)
			r.blobs["sha256:"+filepath.Base(h.Name)] = span{off, h.Size}
		} else if h.Name == "index.json" {
			check(json.NewDecoder(tr).Decode(&index))
		}
	}
	for _, d := range index.Manifests {
		_, p, _ := strings.Cut(d.Annotations["io.containerd.image.name"], "/")
		r.tags[p] = d
		r.tags[p[:strings.LastIndex(p, ":")]+"@"+d.Digest] = d
	}
	return r, len(index.Manifests)
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	log.Printf("%s %s", req.Method, req.URL)
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	p := strings.TrimPrefix(req.URL.Path, "/v2/")
	if p == "" {
		return
	}
	if repo, ref, ok := strings.Cut(p, "/manifests/"); ok {
		r.manifest(w, req, repo, ref)
	} else if _, digest, ok := strings.Cut(p, "/blobs/"); ok {
		r.blob(w, req, digest, "application/octet-stream")
	} else {
		http.NotFound(w, req)
	}
}

func (r *registry) manifest(w http.ResponseWriter, req *http.Request, repo, ref string) {
	sep := ":"
	if strings.HasPrefix(ref, "sha256:") {
		sep = "@"
	}
	if d, ok := r.tags[repo+sep+ref]; ok {
		r.blob(w, req, d.Digest, d.MediaType)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)
}

func (r *registry) blob(w http.ResponseWriter, req *http.Request, digest, mediaType string) {
	s, ok := r.blobs[digest]
	if !ok {
		http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, req, "", time.Time{}, io.NewSectionReader(r.file, s.off, s.size))
}
