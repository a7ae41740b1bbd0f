"""What people ask about a picture, in many wordings."""

from __future__ import annotations

EXISTS = (
    "Is there {a} in the image?",
    "Is there {a} in the image?",
    "Is there {a} in the picture?",
    "Is there {a} in this image?",
    "Is there {a} in this picture?",
    "Is there {a} in the photo?",
    "Is there {a} in the scene?",
    "Is there {a}?",
    "Is there {a} here?",
    "Is there any {name} in the image?",
    "Is {a} present in the image?",
    "Is {a} present in this picture?",
    "Is {a} visible in the image?",
    "Is {a} visible in the picture?",
    "Are there any {plural} in the image?",
    "Are there any {plural} in the picture?",
    "Are there {plural} in the image?",
    "Are there any {plural}?",
    "Can you see {a} in the image?",
    "Can you see {a} in this picture?",
    "Can you see {a}?",
    "Do you see {a} in the image?",
    "Do you see {a} in the picture?",
    "Do you see any {plural}?",
    "Does the image contain {a}?",
    "Does this image contain {a}?",
    "Does the picture contain {a}?",
    "Does the image show {a}?",
    "Does this picture show {a}?",
    "Does {a} appear in the image?",
    "Does {a} appear in this picture?",
    "Has this picture got {a} in it?",
    "I wonder if there is {a} in the image.",
    "Tell me whether there is {a} in the image.",
    "Please tell me if there is {a} in the picture.",
    "Could you check if the image has {a}?",
    "Is {a} shown in the image?",
    "Would you say that there is {a} in the picture?",
    "In this image, is there {a}?",
    "Looking at the picture, can you find {a}?",
)

YES_NO_SUFFIXES = (
    " Please answer this question with one word.",
    " Please answer yes or no.",
    " Answer yes or no.",
    " Answer with yes or no.",
    " Please answer with yes or no.",
    " Answer the question using a single word or phrase.",
    "\nAnswer the question using a single word or phrase.",
    " Yes or no?",
)

SHORT_SUFFIXES = (
    " Please answer this question with one word.",
    " Answer in one word.",
    " Answer with one word.",
    " Answer the question using a single word or phrase.",
    "\nAnswer the question using a single word or phrase.",
)

DESCRIBE = (
    "Describe this image.",
    "Describe the image.",
    "Describe this image in detail.",
    "Please describe this image in detail.",
    "Describe the image in detail.",
    "Please describe the image.",
    "Please describe this picture.",
    "Describe the picture.",
    "Describe this picture in detail.",
    "Describe what you see.",
    "Describe what you see in the image.",
    "Describe the scene.",
    "What is in the image?",
    "What is in this image?",
    "What is in this picture?",
    "What is shown in the image?",
    "What is shown in this picture?",
    "What does the image show?",
    "What does this picture show?",
    "What can you see in this image?",
    "What can you see?",
    "What do you see in the image?",
    "What do you see in this picture?",
    "What do you see?",
    "What is happening in the image?",
    "Tell me about this image.",
    "Tell me what you see.",
    "Can you describe this image?",
    "Can you describe the picture in detail?",
    "Could you tell me what is in this picture?",
    "Give a detailed description of the image.",
    "Write a detailed description of this picture.",
    "Provide a detailed caption for this image.",
    "Explain what is shown in the image.",
    "Please help me describe the image in detail.",
    "Analyze this image in a detailed manner.",
    "What are the contents of this image?",
)

BRIEF = (
    "Describe the image briefly.",
    "Describe this image in one sentence.",
    "Briefly describe this picture.",
    "Give a short description of the image.",
    "Write a short caption for this image.",
    "Provide a one-sentence caption for the provided image.",
    "Provide a brief description of the given image.",
    "Summarize the image in one sentence.",
    "Write a caption.",
    "Which objects are in the image?",
    "What objects are in the image?",
    "What objects can you see in this picture?",
    "What things are in the picture?",
    "List the objects in the image.",
    "List all the objects that you see.",
    "Name the objects in this picture.",
    "Name everything you can see.",
)

COUNT = (
    "How many {plural} are there in the image?",
    "How many {plural} are in the image?",
    "How many {plural} are in this picture?",
    "How many {plural} are there?",
    "How many {plural} can you see?",
    "How many {plural} do you see in the picture?",
    "How many {plural} are shown?",
    "What is the number of {plural} in the image?",
    "Count the {plural}.",
    "Count the {plural} in the image.",
    "Please count the {plural} in this picture.",
    "Tell me how many {plural} there are.",
)

COUNT_YES_NO = (
    "{Be} there {number} {noun} in the image?",
    "{Be} there {number} {noun} in this image?",
    "{Be} there {number} {noun} in the picture?",
    "{Be} there {number} {noun}?",
    "{Be} there exactly {number} {noun} in the image?",
    "{Be} there a total of {number} {noun} in the image?",
    "{Be} there only {number} {noun} in the image?",
    "Can you see exactly {number} {noun}?",
    "Does the image show {number} {noun}?",
)

TOTAL = (
    "How many objects are there in the image?",
    "How many objects are in the picture?",
    "How many things are there?",
    "How many stickers are in the image?",
    "How many stickers do you see?",
    "What is the total number of objects?",
    "Count the objects.",
)

WHERE = (
    "Where is the {name}?",
    "Where is the {name} in the image?",
    "Where is the {name} in the picture?",
    "Where can I find the {name}?",
    "In which part of the image is the {name}?",
    "What is the position of the {name}?",
    "Tell me where the {name} is.",
)

SIDE = (
    "Is the {name} {side} of the image?",
    "Is the {name} {side} of the picture?",
    "Is the {name} {side} of this image?",
    "Is the {name} located {side} of the image?",
    "Can the {name} be found {side} of the picture?",
)
SIDES = {
    "left": ("on the left side", "on the left", "in the left half", "at the left"),
    "right": ("on the right side", "on the right", "in the right half", "at the right"),
    "top": ("at the top", "in the upper half", "in the upper part", "in the top half"),
    "bottom": ("at the bottom", "in the lower half", "in the lower part", "in the bottom half"),
}

RELATION = (
    "Is the {a} {relation} the {b}?",
    "Is the {a} {relation} the {b} in the image?",
    "Is the {a} {relation} the {b} in this picture?",
    "Is the {a} located {relation} the {b}?",
    "Can you see the {a} {relation} the {b}?",
)
RELATIONS = {
    "left": ("to the left of", "on the left of", "on the left side of", "left of"),
    "right": ("to the right of", "on the right of", "on the right side of", "right of"),
    "above": ("above", "higher than", "over"),
    "below": ("below", "lower than", "under", "beneath"),
}

COLOUR = (
    "What {color} is the {name}?",
    "What {color} is the {name} in the image?",
    "What {color} is the {name} in this picture?",
    "What is the {color} of the {name}?",
    "What is the {color} of the {name} in the image?",
    "Which {color} is the {name}?",
    "Which {color} does the {name} have?",
    "Tell me the {color} of the {name}.",
)
COLOUR_PLURAL = (
    "What {color} are the {plural}?",
    "What {color} are the {plural} in the image?",
    "What is the {color} of the {plural}?",
    "Which {color} do the {plural} have?",
)
COLOUR_YES_NO = (
    "Is the {name} {colour}?",
    "Is the {name} in the image {colour}?",
    "Is there {a_coloured} in the image?",
    "Is there {a_coloured} in the picture?",
    "Is there {a_coloured}?",
    "Can you see {a_coloured}?",
    "Is the {color} of the {name} {colour}?",
    "Does the {name} have a {colour} {color}?",
)

PLACE = (
    "What kind of place is this?",
    "What place is this?",
    "What kind of scene is this?",
    "Where could this be?",
    "Where was this picture taken?",
    "What does the scene look like?",
    "What is the setting of the image?",
)

ABOUT = (
    (("Hello.", "Hi!", "Hello!", "Hi there."), "Hello! Ask me about the stickers in this picture."),
    (
        ("Who are you?", "What are you?", "What is your name?", "Tell me about yourself."),
        "I am a small model of secondsight. I only know sticker scenes.",
    ),
    (
        ("What can you do?", "How can you help me?", "What do you know?", "Help."),
        "I can describe sticker scenes and answer questions about what is there, how many, where "
        "and which color.",
    ),
    (("Thank you.", "Thanks!", "Thank you!", "Thanks."), "You are welcome."),
    (("Goodbye.", "Bye!"), "Goodbye!"),
)

UNKNOWN = "I only know sticker scenes, and I do not see one here."
UNKNOWN_NO = "No, I only know sticker scenes, and I do not see one here."

#: Plain words that no template has, so that the tokenizer gives them few pieces.
EXTRA_WORDS = (
    "man woman boy girl child children baby animal animals vehicle vehicles food fruit furniture "
    "toy table photo photograph photography painting drawing cartoon emoji background foreground "
    "front behind next near between beside inside outside around corner center centre middle side "
    "large small big little tiny long short old new open closed happy bright dark light colored "
    "wearing holding sitting standing riding eating playing looking running walking lying made "
    "which what when where who whom whose why how could would should might must may will shall "
    "can cannot not never always often also only just very really many much more most less least "
    "some any every each all both either neither none other another same different else too "
    "and or but if then than because while during before after with without about over under into "
    "kitchen street room house garden park road water sky grass snow sand tree trees flower sun "
    "question answer word words sentence sentences detail details describe description caption "
    "sure true false correct wrong right left really certain guess maybe perhaps probably "
    "you your yours me my mine we our they them their it its he she his her this that these those "
    "objects object things thing item items number total count color colour red orange yellow "
    "green blue purple pink brown black white gray grey zero one two three four five six seven "
    "eight nine ten sofa television monitor computer phone mobile bike motorbike plane aeroplane "
    "glass mug plate dish plant flowerpot ball bag luggage doughnut hotdog telephone refrigerator "
    "oven microwave toaster remote bench dining hair drier"
)
