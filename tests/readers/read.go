// What Go reads in bodies: a line each, of hexadecimal, or a hyphen for none.
//
//	go run read.go FILE
//
// The file has a body behind each length of four bytes, the lowest first.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

// message is read as servers in Go do: members are found in any case.
type message struct {
	Method any             `json:"method"`
	Params json.RawMessage `json:"params"`
	Model  any             `json:"model"`
}

// named is what a message's parameters name.
type named struct {
	Name any `json:"name"`
}

func text(value any) string {
	if text, is := value.(string); is {
		return hex.EncodeToString([]byte(text))
	}
	return "?"
}

func told(body []byte) string {
	var all any
	var read message
	if json.Unmarshal(body, &all) != nil {
		return "-"
	}
	// What is no object has no members.
	_ = json.Unmarshal(body, &read)
	var params named
	if read.Params != nil {
		_ = json.Unmarshal(read.Params, &params)
	}
	return text(read.Method) + ":" + text(params.Name) + ":" + text(read.Model)
}

func main() {
	file, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for len(file) > 0 {
		length := binary.LittleEndian.Uint32(file)
		fmt.Fprintln(out, told(file[4:4+length]))
		file = file[4+length:]
	}
}
