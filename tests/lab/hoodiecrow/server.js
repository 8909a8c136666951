// Starts hoodiecrow with Gmail's extensions on a free port and prints that port.
// argv[2]: where node_modules is.
"use strict";
const path = require("path");
const hoodiecrow = require(path.join(process.argv[2], "node_modules", "hoodiecrow-imap"));

const server = hoodiecrow({
  plugins: ["ID", "IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "SPECIAL-USE", "LITERALPLUS", "X-GM-EXT-1"],
  id: { name: "hoodiecrow", version: "2.1.0" },
  users: { gmail: { password: "pw" } },
  storage: {
    "INBOX": {},
    "": {
      separator: "/",
      folders: {
        "[Gmail]": {
          flags: ["\\Noselect"],
          folders: {
            "Alle Nachrichten": { "special-use": "\\All" },
            "Papierkorb": { "special-use": "\\Trash" },
          },
        },
      },
    },
  },
});
server.registerCapability("X-GM-EXT-1"); // its plugin does not announce itself
server.listen(0, "127.0.0.1", () => console.log(server.server.address().port));
