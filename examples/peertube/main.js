// Each video file that comes to PeerTube goes to a hashhub sidecar before it is published. BLOCK refuses it. Everything
// else lets it in: ALLOW as usual; HOLD, and whatever is no answer, blocked until a moderator has looked at it.
const fs = require('node:fs')

const DEFAULTS = { url: 'http://127.0.0.1:8472', secret: '', seconds: '120' }
const REFUSED = { accepted: false, errorMessage: 'This video cannot be published here.' }
const REASON = 'hashhub: waits for a moderator'
const HELD_MILLISECONDS = 60 * 60 * 1000

// PeerTube checks a file before its video exists, and names no file when it asks whether to block the video. So all that
// a user brings within an hour of a HOLD waits for a moderator: one video too many, never one too few.
const heldUntil = new Map()

async function register ({ registerHook, registerSetting, settingsManager, peertubeHelpers }) {
  const { logger, moderation } = peertubeHelpers

  registerSetting({ name: 'url', label: 'Address of the sidecar', type: 'input', default: DEFAULTS.url, private: true })
  registerSetting({ name: 'secret', label: 'Its secret, if it has one', type: 'input-password', private: true })
  registerSetting({
    name: 'seconds',
    label: 'Seconds to wait for its answer',
    type: 'input',
    default: DEFAULTS.seconds,
    private: true
  })

  // Returns ALLOW, HOLD or BLOCK; never throws, since PeerTube takes an error for an acceptance.
  async function decide (path) {
    try {
      const settings = { ...DEFAULTS, ...await settingsManager.getSettings(Object.keys(DEFAULTS)) }
      const answer = await fetch(new URL('/check', settings.url || DEFAULTS.url), {
        method: 'POST',
        body: await fs.openAsBlob(path),
        headers: settings.secret ? { authorization: `Bearer ${settings.secret}` } : {},
        redirect: 'error',
        signal: AbortSignal.timeout(1000 * (Number(settings.seconds) || Number(DEFAULTS.seconds)))
      })
      if (!answer.ok) throw new Error(`the sidecar answered ${answer.status}`)
      const { action, reference } = await answer.json()
      logger.info(`hashhub: ${action} (${reference})`)
      return action === 'ALLOW' || action === 'BLOCK' ? action : 'HOLD'
    } catch (err) {
      logger.error('hashhub: no answer, so that the video waits for a moderator', { err })
      return 'HOLD'
    }
  }

  // The file is there, and its video is not yet, or is about to get it.
  for (const target of [
    'filter:api.video.upload.accept.result',
    'filter:api.video.update-file.accept.result',
    'filter:api.video.user-import.accept.result'
  ]) {
    registerHook({
      target,
      handler: async (result, { videoFile, user }) => {
        if (!result?.accepted) return result
        const action = await decide(videoFile?.path)
        if (action === 'BLOCK') return REFUSED
        if (action === 'HOLD') heldUntil.set(user?.id, Date.now() + HELD_MILLISECONDS)
        return result
      }
    })
  }

  registerHook({
    target: 'filter:video.auto-blacklist.result',
    handler: (isBlocked, { video, user, isRemote, isNew, isNewFile }) => {
      const now = Date.now()
      for (const [ id, until ] of heldUntil) if (until <= now) heldUntil.delete(id)
      const isHeld = !isRemote && (isNew || isNewFile) && !video?.isLive && heldUntil.has(user?.id)
      return isHeld || isBlocked
    }
  })

  // An import's video exists before its file, so that it can be blocked itself.
  for (const target of [
    'filter:api.video.post-import-url.accept.result',
    'filter:api.video.post-import-torrent.accept.result'
  ]) {
    registerHook({
      target,
      handler: async (result, { video, videoFile, videoFilePath }) => {
        if (!result?.accepted) return result
        const action = await decide(videoFilePath)
        if (action === 'BLOCK') return REFUSED
        if (action === 'HOLD') await block(video?.id ?? videoFile?.videoId)
        return result
      }
    })
  }

  async function block (videoIdOrUUID) {
    try {
      await moderation.blacklistVideo({ videoIdOrUUID, createOptions: { reason: REASON, unfederate: true } })
    } catch (err) {
      logger.error(`hashhub: video ${videoIdOrUUID} could not be blocked; is it already?`, { err })
    }
  }
}

async function unregister () {
  heldUntil.clear()
}

module.exports = { register, unregister }
