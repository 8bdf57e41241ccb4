// Runs a plugin's hooks as PeerTube's plugin guide describes it (docs.joinpeertube.org/contribute/plugins): a filter's
// handlers are awaited in turn with the result so far and the parameters, and one that throws changes nothing.
//   node peertube_hooks.js PLUGIN SETTINGS < STEPS > RESULTS, one JSON each line
const readline = require('node:readline')

const [plugin, given] = process.argv.slice(2)
const { register, unregister } = require(plugin)
const hooks = {}
const settings = JSON.parse(given)
const defaults = {}
let blocked = []
let errors = []
let failing = false

const keep = (message) => errors.push(message)
const logger = { debug () {}, info () {}, warn: keep, error: keep }
const moderation = {
  async blacklistVideo (options) {
    blocked.push(options)
    if (failing) throw new Error('Video is already blacklisted')
  }
}

async function run (name, result, parameters) {
  for (const handler of hooks[name] ?? []) {
    try {
      result = await handler(result, parameters)
    } catch (err) {
      errors.push(`Cannot run hook ${name}: ${err}`)
    }
  }
  return result
}

async function main () {
  await register({
    registerHook: ({ target, handler }) => (hooks[target] ??= []).push(handler),
    registerSetting: (one) => { defaults[one.name] = one.default },
    settingsManager: {
      getSettings: async (names) => Object.fromEntries(names.map((name) => [name, settings[name] ?? defaults[name]]))
    },
    peertubeHelpers: { logger, moderation }
  })
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { hook, result, parameters, later = 0, blacklistFails = false } = JSON.parse(line)
    const now = Date.now
    Date.now = () => now() + later
    failing = blacklistFails
    const said = await run(hook, result, parameters)
    Date.now = now
    console.log(JSON.stringify({ result: said, blocked, errors }))
    blocked = []
    errors = []
  }
  await unregister()
}

main()
