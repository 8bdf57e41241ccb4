"""The console: what people do with eyes and a keyboard, in a browser. An edge like the command line: calls alone.

    browser ──> site: host, session, form token ──> visit ──> a page module ──> calls of the hub, as who is signed in
                                                                  └──> a template, in `pages`' headers and language

`site`, `visit`, `pages`, `sessions` and `sign_in` know no hub: a hook's moderators have their pages by them, too.
`hub_console` is the hub's own, of page modules that each have SCREENS.
"""
