/** The page that signs a user in, in place of the sign-in of Databricks. */

/** A user in the list. */
export interface Person {
  readonly userName: string
  readonly displayName: string
}

const escaped = (text: string) => text.replaceAll(/[&<>"']/g, (_) => `&#${_.codePointAt(0)};`)

/** The path that signs a user in; the user name follows. */
export const signInPath = "/.apps/as/"

/** The path that signs the user out. */
export const signOutPath = "/.apps/out"

/** The most users that are listed. */
export const shown = 20

/** Returns the HTML of the page, which lists at most 20 users. */
export const chooser = (people: ReadonlyArray<Person>, signedIn: string | undefined): string => {
  const links = people.slice(0, shown).map(({ displayName, userName }) => {
    const current = userName === signedIn ? ' aria-current="true"' : ""
    const name = escaped(displayName)
    return `<li><a href="${signInPath}${encodeURIComponent(userName)}"${current}>${name}</a> <small>${escaped(userName)}</small>`
  })
  const others =
    people.length > shown
      ? `<p>And ${people.length - shown} others: open <code>${signInPath}</code> and an e-mail address.`
      : ""
  const out = signedIn === undefined ? "" : `<p><a href="${signOutPath}">Sign out</a>`
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in to the local workspace</title>
<link rel="icon" href="data:,">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 4rem auto; padding: 0 1rem; color: #1b3139 }
ul { list-style: none; padding: 0 } li { padding: .5rem 0; border-bottom: 1px solid #dde3e6 }
a { color: #0e538b } a[aria-current] { font-weight: 600 } small { color: #5a6f77 }
</style>
<h1>Sign in</h1>
<p>Databricks Apps signs users in before a request reaches the application. On this machine, choose a user.
<ul>${links.join("\n")}</ul>
${others}
${out}
</html>`
}
