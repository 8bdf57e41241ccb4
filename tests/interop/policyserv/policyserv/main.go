// Scans a file as policyserv does: main HMA_URL KEY photo|video FILE BANK… prints the class of the file.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/matrix-org/policyserv/content"
)

func main() {
	file, err := os.ReadFile(os.Args[4])
	if err != nil {
		panic(err)
	}
	scanner, err := content.NewHMAScanner(os.Args[1], os.Args[2], os.Args[5:])
	if err != nil {
		panic(err)
	}
	info, err := scanner.Scan(context.Background(), content.Type(os.Args[3]), file)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println(info.Class())
}
