import { element, email } from "../page.js"

/** Links that sign in another user and return to this screen. */
const people = await (await fetch("/demo/people")).json()
const to = encodeURIComponent(location.pathname)
const links = people
  .filter((name) => name !== email)
  .map((name) => Object.assign(element("a", "", `be ${name.split("@")[0]}`), { href: `/.apps/as/${name}?to=${to}` }))
document
  .getElementById("person")
  .append(
    ...links.flatMap((link) => [" · ", link]),
    " · ",
    Object.assign(element("a", "", "others"), { href: "/.apps/" })
  )
