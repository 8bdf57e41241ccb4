package content

type Type string

const TypePhoto Type = "photo"
const TypeVideo Type = "video"
