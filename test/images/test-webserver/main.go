// Command test-webserver serves the container's files on port 80, as the image of that name in old
// examples does.
package main

import (
	"log"
	"net/http"
)

func main() {
	log.Fatal(http.ListenAndServe(":80", http.FileServer(http.Dir("/"))))
}
